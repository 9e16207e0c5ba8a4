// The helper threads of threads.h, on POSIX threads: std::thread ends the process when the system
// refuses it a thread, since there are no exceptions here.
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <new>

namespace {

constexpr int64_t SPIN_NS = 20000;
constexpr int LINE = 64;
constexpr int MAX_HELPERS = mergen::MAX_THREADS - 1;

int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Spins for at most SPIN_NS until `ready`; says whether it is.
template <class Ready>
bool spin(const Ready& ready) {
  const int64_t end = now_ns() + SPIN_NS;
  do {
    for (int i = 0; i < 16; i++) {
      if (ready()) return true;
      relax();
    }
  } while (now_ns() < end);
  return false;
}

// Set in helpers, and in a caller while its loop runs: loops within get no helpers.
thread_local bool is_inside = false;

class Pool {
 public:
  Pool() {
    pthread_mutex_init(&mutex_, nullptr);
    pthread_cond_init(&begun_, nullptr);
    pthread_cond_init(&finished_, nullptr);
  }

  ~Pool() {
    closing_.store(true);
    job_.fetch_add(1);
    wake(count_);
    for (int i = 0; i < count_; i++) pthread_join(helpers_[i], nullptr);
    pthread_cond_destroy(&finished_);
    pthread_cond_destroy(&begun_);
    pthread_mutex_destroy(&mutex_);
  }

  // Starts helpers up to `count`, or as many as the system gives.
  void grow(int count) {
    if (count_ >= count) return;
    // JavaScript's signal handlers run on JavaScript's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (count_ < count && pthread_create(&helpers_[count_], nullptr, enter, this) == 0) count_++;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void run(int helpers, long pieces, void (*call)(void*, long), void* context) {
    call_ = call;
    context_ = context;
    pieces_ = pieces;
    done_.store(0);
    seats_.store(helpers);
    // The claims open last: whoever claims a piece, however late it comes, finds the job whole. The
    // next job is written only when every claimed piece of this one is done.
    left_.store(pieces);
    job_.fetch_add(1);
    wake(helpers);
    work();
    const auto all_done = [&] { return done_.load() == pieces; };
    if (all_done() || spin(all_done)) return;
    pthread_mutex_lock(&mutex_);
    caller_parked_.store(true);
    while (!all_done()) pthread_cond_wait(&finished_, &mutex_);
    caller_parked_.store(false);
    pthread_mutex_unlock(&mutex_);
  }

 private:
  static void* enter(void* pool) {
    is_inside = true;
    static_cast<Pool*>(pool)->serve();
    return nullptr;
  }

  void serve() {
    for (uint32_t seen = 0;;) {
      const auto has_job = [&] { return job_.load() != seen; };
      if (!has_job() && !spin(has_job)) {
        pthread_mutex_lock(&mutex_);
        parked_.fetch_add(1);
        while (!has_job()) pthread_cond_wait(&begun_, &mutex_);
        parked_.fetch_sub(1);
        pthread_mutex_unlock(&mutex_);
      }
      seen = job_.load();
      if (closing_.load()) return;
      if (seats_.fetch_sub(1) > 0) work();
    }
  }

  // Claims and runs pieces until none is left.
  void work() {
    for (;;) {
      const long left = left_.fetch_sub(1);
      if (left <= 0) return;
      const long pieces = pieces_;
      call_(context_, pieces - left);
      if (done_.fetch_add(1) + 1 == pieces && caller_parked_.load()) {
        pthread_mutex_lock(&mutex_);
        pthread_cond_signal(&finished_);
        pthread_mutex_unlock(&mutex_);
      }
    }
  }

  // Wakes parked helpers. Whoever parks has counted itself before it looks for a job once more.
  void wake(int helpers) {
    if (parked_.load() == 0) return;
    pthread_mutex_lock(&mutex_);
    for (int i = 0; i < helpers; i++) pthread_cond_signal(&begun_);
    pthread_mutex_unlock(&mutex_);
  }

  pthread_t helpers_[MAX_HELPERS];
  int count_ = 0;
  pthread_mutex_t mutex_;
  pthread_cond_t begun_, finished_;
  void (*call_)(void*, long) = nullptr;
  void* context_ = nullptr;
  long pieces_ = 0;
  // The number of the job, and what helpers look at while they wait.
  alignas(LINE) std::atomic<uint32_t> job_{0};
  std::atomic<int> seats_{0}, parked_{0};
  std::atomic<bool> closing_{false}, caller_parked_{false};
  // Pieces not yet claimed (at or below zero between jobs), and pieces done.
  alignas(LINE) std::atomic<long> left_{0};
  alignas(LINE) std::atomic<long> done_{0};
};

// Freed by close_threads alone: a process that ends without it leaves its helpers parked.
thread_local Pool* own_pool = nullptr;

}  // namespace

namespace mergen {

void parallel_for(int threads, long pieces, void (*run)(void*, long), void* context) {
  long helpers = (threads < MAX_THREADS ? threads : MAX_THREADS) - 1;
  if (helpers > pieces - 1) helpers = pieces - 1;
  if (helpers > 0 && !is_inside) {
    if (own_pool == nullptr) own_pool = new (std::nothrow) Pool;
    if (own_pool != nullptr) {
      is_inside = true;
      own_pool->grow(static_cast<int>(helpers));
      own_pool->run(static_cast<int>(helpers), pieces, run, context);
      is_inside = false;
      return;
    }
  }
  for (long piece = 0; piece < pieces; piece++) run(context, piece);
}

void close_threads() {
  delete own_pool;
  own_pool = nullptr;
}

}  // namespace mergen
