// SPDX-License-Identifier: Apache-2.0
// Settings of the engine as a user writes them: name=value, limits with "limits." in front.
import * as z from 'zod';
import type { EngineLimits, EngineOptions } from '../native/index.ts';
import { MeshError, type Result } from '../src/lib/error.ts';

/** What may be set of the engine; workers and the log level have flags of their own. */
export type EngineSettings = Omit<EngineOptions, 'workers' | 'accessLog' | 'bpfPins' | 'takesOver'>;

const whole = z
  .string()
  .regex(/^\d{1,15}$/, 'is not a whole number')
  .transform(Number)
  .optional();

// The engine itself checks the ranges. A setting that it gains has to be named here too.
const limits: Record<keyof EngineLimits, typeof whole> = {
  connectionsPerPod: whole,
  heldPerPod: whole,
  handshakesPerPod: whole,
  handshakesPerSource: whole,
  tunnelsPerSource: whole,
  tunnelsPerPeer: whole,
  busyTunnelsPerPeer: whole,
  streamsPerTunnel: whole,
  bytesPerPod: whole,
  bytesPerNode: whole,
  passthroughBytes: whole,
  eventQueueBytes: whole,
  verifiedLeaves: whole,
  resumableSessions: whole,
  resumablePerPeer: whole,
  handshakeFibers: whole,
};

const settings: Record<Exclude<keyof EngineSettings, 'limits'>, z.ZodType> = {
  mark: whole,
  appCongestion: z.string().optional(),
  tunnelCongestion: z.string().optional(),
  busyPollMicros: whole,
  connectTimeoutMs: whole,
  handshakeTimeoutMs: whole,
  identityTimeoutMs: whole,
  tunnelIdleMs: whole,
  outboundPolicy: z.enum(['allowAny', 'registryOnly']).optional(),
  sameNode: z.enum(['tunnel', 'direct']).optional(),
  tlsRow: z.enum(['record', 'library']).optional(),
  crypto: z.enum(['off', 'scalar', 'avx512']).optional(),
  h2Row: z.enum(['own', 'nghttp2']).optional(),
  pingAfterMs: whole,
  deadAfterMs: whole,
  streamIdleMs: whole,
  halfClosedIdleMs: whole,
  stalledMs: whole,
};

const schema = z.strictObject({ ...settings, limits: z.strictObject(limits).optional() });

/** The names that can be set, for `--help`. */
export const engineSettingNames: readonly string[] = [
  ...Object.keys(settings),
  ...Object.keys(limits).map((name) => `limits.${name}`),
];

/** Reads "name=value" texts; of two with the same name the last holds. */
export function parseEngineSettings(texts: readonly string[]): Result<EngineSettings> {
  const top = new Map<string, unknown>();
  const inner = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(at, 0));
    if (!engineSettingNames.includes(name)) {
      const message = `--engine ${text}: is none of ${engineSettingNames.join(', ')}, with =VALUE`;
      return { ok: false, error: new MeshError('invalid', message) };
    }
    const value = text.slice(at + 1);
    const limit = name.startsWith('limits.') ? name.slice('limits.'.length) : undefined;
    if (limit === undefined) {
      top.set(name, value);
    } else {
      inner.set(limit, value);
    }
  }
  const nested = inner.size === 0 ? {} : { limits: Object.fromEntries(inner) };
  const parsed = schema.safeParse({ ...Object.fromEntries(top), ...nested });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const message = `--engine ${issue?.path.join('.')} ${issue?.message}`;
    return { ok: false, error: new MeshError('invalid', message) };
  }
  return { ok: true, value: parsed.data as EngineSettings };
}
