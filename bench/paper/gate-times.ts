// How long a party computes in each kind of gate, in each segment and part of the model. Watches
// the gates' online parts; the time of messages and of the schedule is not in it.

import { computedPart, type GateWatch, type Part, partsOf, taskOf } from "../../src/index.ts";

/** Seconds of the gates of a segment that are of one part and task. */
export interface GateTime {
  readonly segment: number;
  readonly part: Part;
  readonly task: string;
  readonly gates: number;
  readonly seconds: number;
}

/** Sums over gates: n, of work w and seconds s, and of their products. Enough for a line fit. */
export interface Moments {
  readonly n: number;
  readonly w: number;
  readonly s: number;
  readonly ww: number;
  readonly ws: number;
}

/** What a process answers about its gates. */
export interface GateReport {
  readonly times: readonly GateTime[];
  readonly moments: Readonly<Record<string, Moments>>;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface Place {
  readonly part: Part;
  readonly task: string;
  readonly work: number;
}

export class GateTimes {
  #times = new Map<string, Mutable<GateTime>>();
  #moments = new Map<string, Mutable<Moments>>();
  /** Places of gates, by the segment's list of them. */
  #places = new WeakMap<object, Map<number, Place>>();

  reset(): void {
    this.#times = new Map();
    this.#moments = new Map();
  }

  report(): GateReport {
    return { times: [...this.#times.values()], moments: Object.fromEntries(this.#moments) };
  }

  /** Give it to a client or a server. */
  readonly watch: GateWatch = (segment, gate, online) => {
    const place = this.#placesOf(segment).get(gate.id)!;
    return this.#timed(segment.id, place, online);
  };

  #placesOf({ gates }: Parameters<GateWatch>[0]): Map<number, Place> {
    const known = this.#places.get(gates);
    if (known) return known;
    const found = partsOf(gates);
    const places = new Map(
      gates.map((gate) => {
        const part = computedPart(gate, found.get(gate.id)!);
        return [gate.id, { part, ...taskOf(gate) }];
      }),
    );
    this.#places.set(gates, places);
    return places;
  }

  *#timed(segment: number, place: Place, online: ReturnType<GateWatch>): ReturnType<GateWatch> {
    let seconds = 0;
    let answer = new Uint8Array(0);
    for (;;) {
      const started = performance.now();
      const next = online.next(answer);
      seconds += (performance.now() - started) / 1000;
      if (next.done) break;
      answer = (yield next.value) as typeof answer;
    }
    this.#add(segment, place, seconds);
  }

  #add(segment: number, { part, task, work }: Place, seconds: number): void {
    const key = `${segment} ${part} ${task}`;
    const time = this.#times.get(key) ?? { segment, part, task, gates: 0, seconds: 0 };
    time.gates++;
    time.seconds += seconds;
    this.#times.set(key, time);
    const sums = this.#moments.get(task) ?? { n: 0, w: 0, s: 0, ww: 0, ws: 0 };
    sums.n++;
    sums.w += work;
    sums.s += seconds;
    sums.ww += work * work;
    sums.ws += work * seconds;
    this.#moments.set(task, sums);
  }
}
