// SPDX-License-Identifier: Apache-2.0

/** Every way an operation of ours fails. A closed set: exit codes and logs name failures by it. */
export type MeshErrorCode =
  | 'invalid' // the input breaks its format or its rules
  | 'limit' // well formed, but over a named limit
  | 'denied' // not allowed to this caller
  | 'unavailable' // the other side cannot be reached now
  | 'timeout'
  | 'conflict' // somebody else holds it
  | 'unsupported' // this machine or this build cannot do it
  | 'internal'; // a bug, or the system refused

const codes: ReadonlySet<string> = new Set<MeshErrorCode>([
  'invalid',
  'limit',
  'denied',
  'unavailable',
  'timeout',
  'conflict',
  'unsupported',
  'internal',
]);

// A map, since any text may be asked for: an object also answers to 'constructor'.
const systemCodes: ReadonlyMap<string, MeshErrorCode> = new Map(
  Object.entries<MeshErrorCode>({
    ECONNREFUSED: 'unavailable',
    ECONNRESET: 'unavailable',
    EHOSTUNREACH: 'unavailable',
    ENETUNREACH: 'unavailable',
    EPIPE: 'unavailable',
    ENOENT: 'unavailable',
    ETIMEDOUT: 'timeout',
    EACCES: 'denied',
    EPERM: 'denied',
    EADDRINUSE: 'conflict',
    EEXIST: 'conflict',
  }),
);

function codeOf(error: Error): MeshErrorCode {
  const code = 'code' in error ? String(error.code) : '';
  return codes.has(code) ? (code as MeshErrorCode) : (systemCodes.get(code) ?? 'internal');
}

/** The one error class of the project: a code for programs, a sentence for people, and a cause. */
export class MeshError extends Error {
  readonly code: MeshErrorCode;

  constructor(code: MeshErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MeshError';
    this.code = code;
  }

  /** Turns anything thrown into a MeshError; one that is one already is returned as it is. */
  static from(thrown: unknown): MeshError {
    if (thrown instanceof MeshError) {
      return thrown;
    }
    if (thrown instanceof Error) {
      return new MeshError(codeOf(thrown), thrown.message, { cause: thrown });
    }
    return new MeshError('internal', String(thrown), { cause: thrown });
  }
}

/** What a parser of untrusted input returns: it never throws. */
export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: MeshError };
