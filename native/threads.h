// Helper threads for loops whose pieces do not depend on each other. Each thread that calls
// (so each JavaScript environment) has helpers of its own, started when a call first asks for them.
//
// Everybody, the caller first, claims pieces one by one until none is left; so the caller never
// waits for a helper that has not begun, only for pieces that are under way elsewhere. Whoever
// waits spins for at most SPIN_NS and then parks: spinning alone costs milliseconds whenever the
// system gives the core to somebody else, parking and waking some 10 us.
#pragma once

namespace mergen {

constexpr int MAX_THREADS = 32;

// Calls run(context, piece) once for each piece 0 .. pieces - 1, on at most `threads` threads, the
// caller among them, and returns when all are done. Fewer threads serve if the system gives no
// more; a piece that calls this again gets no helpers.
void parallel_for(int threads, long pieces, void (*run)(void* context, long piece), void* context);

// The same for a callable: each(piece).
template <class Each>
void parallel_for(int threads, long pieces, const Each& each) {
  parallel_for(
      threads, pieces,
      [](void* context, long piece) { (*static_cast<const Each*>(context))(piece); },
      const_cast<Each*>(&each));
}

// Ends the calling thread's helpers; a later loop starts new ones.
void close_threads();

}  // namespace mergen
