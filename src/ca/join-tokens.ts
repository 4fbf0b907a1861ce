// SPDX-License-Identifier: Apache-2.0
// Join tokens: what a node shows once to get its first certificate. A token is a JWT that is
// signed by a key in the state folder, so that it can be made without asking the control plane.
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { MeshError, type Result } from '../lib/error.ts';
import { createPrivateFile, ensurePrivateFolder } from '../lib/private-files.ts';

/** What a token says. */
export interface JoinClaims {
  readonly node: string;
  /** The token's own number, by which it is used once. */
  readonly id: string;
  /** Seconds since the epoch. */
  readonly expires: number;
}

/** What a new token is for. */
export interface TokenOrder {
  readonly node: string;
  readonly trustDomain: string;
  /**
   * SHA-256 of the DER of each root certificate that the control plane may show, in hex: by it the
   * node knows its control plane.
   */
  readonly rootSha256: readonly string[];
  readonly ttlSeconds: number;
}

/** Longest token that is looked at. */
export const tokenBytesMax = 4096;

/** Most tokens that are remembered as used; each is forgotten when it expires. */
export const usedTokensMax = 100_000;

const keyFile = 'join-token.key';
const usedFolder = 'used-tokens';
const signature = 'ES256';
const claimsSchema = z.object({ sub: z.string().min(1), jti: z.uuid(), exp: z.int() });

function audienceOf(trustDomain: string): string {
  return `weft:${trustDomain}`;
}

async function readKey(folder: string): Promise<string> {
  try {
    return await readFile(join(folder, keyFile), 'utf8');
  } catch (cause) {
    const message = `${folder} holds no key for join tokens; weft control makes one when it starts`;
    throw new MeshError('unavailable', message, { cause });
  }
}

/** Makes a token, with the key of the state folder. Throws MeshError `unavailable` without one. */
export async function mintJoinToken(folder: string, order: TokenOrder, now: Date): Promise<string> {
  const key = createPrivateKey(await readKey(folder));
  const issued = Math.floor(now.getTime() / 1000);
  return await new SignJWT({ rootSha256: order.rootSha256 })
    .setProtectedHeader({ alg: signature, typ: 'JWT' })
    .setSubject(order.node)
    .setAudience(audienceOf(order.trustDomain))
    .setJti(randomUUID())
    .setIssuedAt(issued)
    .setExpirationTime(issued + order.ttlSeconds)
    .sign(key);
}

/** Checks tokens and uses them up. */
export class JoinTokens {
  readonly #folder: string;
  readonly #trustDomain: string;
  readonly #key: ReturnType<typeof createPublicKey>;
  // Expiry in seconds by token id. The file of the same name is what survives a restart.
  readonly #used: Map<string, number> = new Map();

  private constructor(folder: string, trustDomain: string, keyPem: string) {
    this.#folder = folder;
    this.#trustDomain = trustDomain;
    this.#key = createPublicKey(keyPem);
  }

  /** Opens the folder of a control plane, and makes the signing key if there is none. */
  static async open(folder: string, trustDomain: string, now: Date): Promise<JoinTokens> {
    await ensurePrivateFolder(folder);
    await ensurePrivateFolder(join(folder, usedFolder));
    try {
      await readKey(folder);
    } catch {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
      await createPrivateFile(join(folder, keyFile), pem);
    }
    const tokens = new JoinTokens(folder, trustDomain, await readKey(folder));
    await tokens.#load();
    await tokens.#forget(now);
    return tokens;
  }

  async #load(): Promise<void> {
    for (const name of await readdir(join(this.#folder, usedFolder))) {
      const text = await readFile(join(this.#folder, usedFolder, name), 'utf8');
      const expires = Number.parseInt(text, 10);
      // A file that cannot be read as a time is kept as used for good: fail closed.
      this.#used.set(name, Number.isNaN(expires) ? Number.POSITIVE_INFINITY : expires);
    }
  }

  async #forget(now: Date): Promise<void> {
    const seconds = now.getTime() / 1000;
    for (const [id, expires] of this.#used) {
      if (expires < seconds) {
        await rm(join(this.#folder, usedFolder, id), { force: true });
        this.#used.delete(id);
      }
    }
  }

  /** Checks a token from the network: our signature, our audience, not expired. Uses nothing up. */
  async verify(token: string, now: Date): Promise<Result<JoinClaims>> {
    try {
      if (token.length > tokenBytesMax) {
        throw new MeshError('denied', 'join token: too long');
      }
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: [signature],
        audience: audienceOf(this.#trustDomain),
        requiredClaims: ['sub', 'jti', 'exp', 'iat'],
        currentDate: now,
      });
      const { sub, jti, exp } = claimsSchema.parse(payload);
      return { ok: true, value: { node: sub, id: jti, expires: exp } };
    } catch (cause) {
      const { message } = MeshError.from(cause);
      return { ok: false, error: new MeshError('denied', `join token: ${message}`, { cause }) };
    }
  }

  /**
   * Uses a token up. False when it was used before, also before a restart, or has expired since it
   * was checked: of several that try at one time, one succeeds. Once this says true the token is
   * spent, whatever comes after.
   */
  async redeem({ id, expires }: JoinClaims, now: Date): Promise<boolean> {
    // The mark of an expired one may be forgotten already.
    if (this.#used.has(id) || expires * 1000 <= now.getTime()) {
      return false;
    }
    // Before anything is waited for, so that nobody else gets past the line above.
    this.#used.set(id, expires);
    await this.#forget(now);
    if (this.#used.size > usedTokensMax) {
      this.#used.delete(id);
      throw new MeshError('limit', `more than ${usedTokensMax} join tokens are in use`);
    }
    return await createPrivateFile(join(this.#folder, usedFolder, id), String(expires));
  }
}
