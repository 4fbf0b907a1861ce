// SPDX-License-Identifier: Apache-2.0

/** Something in a configuration file that is wrong, or that is probably not meant. */
export interface Problem {
  /** An error keeps the file's new content out; a warning does not. */
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** As `spec.rules[0].from`; empty when the whole document is meant. */
  readonly field: string;
  readonly message: string;
}

/** Where in a file something stands. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** The text of a path into a document. */
export function fieldText(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');
}

/** A problem as one line for people: file, line, field, sentence. */
export function formatProblem({ file, line, field, message }: Problem): string {
  return [`${file}:${line}`, ...(field === '' ? [] : [field]), message].join(': ');
}
