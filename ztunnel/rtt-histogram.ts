// SPDX-License-Identifier: Apache-2.0
// Round-trip times of connections, by their labels: the engine has counted them already.
import type { Family, Sample } from './metrics.ts';

/** The upper bounds of the engine's counts, in seconds; one more count is of all that are longer. */
export const rttBounds: readonly number[] = [
  25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000,
].map((micros) => micros / 1e6);

type Labels = Readonly<Record<string, string>>;

interface Row {
  readonly labels: Labels;
  readonly counts: number[];
  seconds: number;
}

const keyOf = (labels: Labels): string => Object.values(labels).join('\0');

function samplesOf({ labels, counts, seconds }: Row): Sample[] {
  let sum = 0;
  const buckets = counts.map((count, at): Sample => {
    sum += count;
    const le = String(rttBounds[at] ?? '+Inf');
    return { labels: { ...labels, le }, value: sum, suffix: '_bucket' };
  });
  return [
    ...buckets,
    { labels, value: seconds, suffix: '_sum' },
    { labels, value: sum, suffix: '_count' },
  ];
}

/** A histogram that takes counts and not values. Main thread only; its owner bounds the labels. */
export class RttHistogram {
  readonly #rows = new Map<string, Row>();

  /**
   * Adds `counts`, of times up to each bound and over all of them, which sum up to `seconds`. The
   * labels must come in the same order each time.
   */
  add(labels: Labels, counts: readonly number[], seconds: number): void {
    const key = keyOf(labels);
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { labels, counts: new Array<number>(rttBounds.length + 1).fill(0), seconds: 0 };
      this.#rows.set(key, row);
    }
    for (const at of row.counts.keys()) {
      row.counts[at] = (row.counts[at] ?? 0) + (counts[at] ?? 0);
    }
    row.seconds += seconds;
  }

  /** Forgets a label set. */
  remove(labels: Labels): void {
    this.#rows.delete(keyOf(labels));
  }

  /** As a metric. */
  family(): Family {
    return {
      name: 'weft_tcp_rtt_seconds',
      type: 'histogram',
      help: 'Smoothed round-trip times of direct connections, when they ended.',
      samples: [...this.#rows.values()].flatMap(samplesOf),
    };
  }
}
