// SPDX-License-Identifier: Apache-2.0
// What a kernel's verifier says when it refuses a program, in the text that libbpf makes of it.

/** How many lines of its log are worth a reader's time. */
const linesMax = 5;

const begin = /BEGIN PROG LOAD LOG/;
const end = /^processed \d+ insns/;

/** The last lines of its log, with the code that they are about; none where it said nothing. */
export function lastWordsOf(text: string): string[] {
  const lines = text.split('\n');
  const last = lines.findLastIndex((line) => end.test(line));
  const first = lines.findLastIndex((line) => begin.test(line)) + 1;
  return last < 0 ? [] : lines.slice(Math.max(first, last - linesMax), last);
}

/**
 * Why a program was refused, in a line: its name and the verifier's last word. Where no verifier
 * spoke it is the text's first line.
 */
export function refusalOf(text: string): string {
  const word = lastWordsOf(text).at(-1);
  const [, program = ''] = /prog '(\w+)': failed to load/.exec(text) ?? [];
  return word === undefined ? (text.split('\n')[0] ?? '') : `${program}: ${word}`;
}
