// SPDX-License-Identifier: Apache-2.0
// How a node becomes a member: a join token names the root to trust, and is exchanged for the
// node's own certificate.
import { createHash, timingSafeEqual, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  type DetailedPeerCertificate,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { ChannelCredentials } from '@grpc/grpc-js';
import * as z from 'zod';
import {
  CaClient,
  chainCertificatesMax,
  type IssuedCertificate,
  type SecureChannel,
} from '../src/ca/client.ts';
import { MeshError, type Result } from '../src/lib/error.ts';
import { formatSpiffeId, nodeSpiffeId } from '../src/spiffe/id.ts';

/** Validity a node asks for itself, in seconds: a day. */
export const nodeValiditySeconds = 86_400;

const learnTimeoutMs = 10_000;

/** What a join token says. Its signature is the control plane's to check, not the node's. */
export interface JoinToken {
  readonly text: string;
  readonly node: string;
  readonly trustDomain: string;
  /** SHA-256 of the DER of each root certificate that the control plane may show. */
  readonly rootSha256: readonly Uint8Array[];
}

/** Most roots that one token names: two while one takes the place of the other. */
export const tokenRootsMax = 4;

const sha256 = z.hex().length(64);
const claims = z.object({
  sub: z.string().min(1),
  aud: z.string().startsWith('weft:').min(6),
  rootSha256: z.array(sha256).min(1).max(tokenRootsMax),
});

// The payload of a compact JWS (RFC 7515 section 7.1).
function payloadOf(token: string): unknown {
  const [, payload = ''] = token.split('.', 3);
  return JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
}

/** Parses a join token, as `weft token create` prints it. */
export function parseJoinToken(text: string): Result<JoinToken> {
  const trimmed = text.trim();
  try {
    const { sub, aud, rootSha256 } = claims.parse(payloadOf(trimmed));
    const value = {
      text: trimmed,
      node: sub,
      trustDomain: aud.slice('weft:'.length),
      rootSha256: rootSha256.map((hex) => new Uint8Array(Buffer.from(hex, 'hex'))),
    };
    return { ok: true, value };
  } catch (cause) {
    return { ok: false, error: new MeshError('invalid', 'this is not a join token', { cause }) };
  }
}

/** Splits "host:port" or "[v6]:port". Throws MeshError `invalid`. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const found = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  const host = found?.[1] ?? found?.[2];
  const port = Number(found?.[3]);
  if (host === undefined || port < 1 || port > 65535) {
    throw new MeshError('invalid', `${address} is not HOST:PORT`);
  }
  return { host, port };
}

// The last certificate of the chain that the server presents.
function lastOf(leaf: DetailedPeerCertificate): Uint8Array {
  let certificate = leaf;
  for (let steps = 0; steps < chainCertificatesMax; steps += 1) {
    const issuer = certificate.issuerCertificate;
    if (issuer === undefined || issuer === certificate) {
      break;
    }
    certificate = issuer;
  }
  return new Uint8Array(certificate.raw);
}

function presentedRoot(socket: TLSSocket): Uint8Array {
  const leaf = socket.getPeerCertificate(true);
  if (leaf.raw === undefined) {
    throw new MeshError('invalid', 'the control plane presents no certificate');
  }
  return lastOf(leaf);
}

/**
 * Asks the control plane for its root and returns it only if its hash is one of the pinned. Nothing
 * is sent on this connection, so whoever answers learns nothing. Rejects with `denied` when the
 * root is another (fail-closed), `unavailable` or `timeout` when nobody answers.
 */
export function learnRoot(address: string, rootSha256: readonly Uint8Array[]): Promise<Uint8Array> {
  const { host, port } = splitAddress(address);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      // The pinned hash takes the place of a chain to a root that is not known yet.
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    socket.setTimeout(learnTimeoutMs, () =>
      socket.destroy(new MeshError('timeout', `no answer from ${address}`)),
    );
    socket.once('error', (cause) =>
      reject(
        cause instanceof MeshError
          ? cause
          : new MeshError('unavailable', `${address}: ${cause.message}`, { cause }),
      ),
    );
    socket.once('close', () => reject(new MeshError('unavailable', `${address} hung up`)));
    socket.once('secureConnect', () => {
      try {
        const root = presentedRoot(socket);
        const hash = createHash('sha256').update(root).digest();
        if (!rootSha256.some((pinned) => timingSafeEqual(hash, pinned))) {
          throw new MeshError('denied', 'the control plane has another root than the join token');
        }
        resolve(root);
      } catch (error) {
        reject(MeshError.from(error));
      } finally {
        socket.destroy();
      }
    });
  });
}

const base64Letters = Buffer.from(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
);
const base64Padding = 0x3d;
const newline = 0x0a;
// Bytes in a line of 64 letters (RFC 7468 section 2).
const lineBytes = 48;

// The key in PEM, the one form that Node's TLS takes. Node's own way there leads over strings,
// which nobody can wipe.
function keyPemOf(pkcs8: Uint8Array): Buffer {
  const head = Buffer.from('-----BEGIN PRIVATE KEY-----\n');
  const foot = Buffer.from('-----END PRIVATE KEY-----\n');
  const lines = Math.ceil(pkcs8.length / lineBytes);
  const pem = Buffer.alloc(head.length + 4 * Math.ceil(pkcs8.length / 3) + lines + foot.length);
  let at = head.copy(pem);
  for (let i = 0; i < pkcs8.length; i += 3) {
    const left = pkcs8.length - i;
    const bits = ((pkcs8[i] ?? 0) << 16) | ((pkcs8[i + 1] ?? 0) << 8) | (pkcs8[i + 2] ?? 0);
    for (let letter = 0; letter < 4; letter += 1) {
      const value = (bits >> (18 - 6 * letter)) & 0x3f;
      pem[at] = letter <= left ? (base64Letters[value] ?? 0) : base64Padding;
      at += 1;
    }
    if ((i + 3) % lineBytes === 0 || left <= 3) {
      pem[at] = newline;
      at += 1;
    }
  }
  foot.copy(pem, at);
  return pem;
}

function pemOf(certificates: readonly Uint8Array[]): Buffer {
  return Buffer.from(certificates.map((der) => new X509Certificate(der).toString()).join(''));
}

// Node refuses an IP address as TLS server name (RFC 6066 section 3), which is what grpc-js would
// send for one. A fixed name goes in its place, and the certificate is held to the address.
const serverNameOfAddresses = 'control.weft.internal';

/**
 * A TLS connection to `address` that trusts `roots`, and shows `own` when it is given. The server's
 * certificate has to name the host or IP address of `address`.
 */
export function tlsChannel(
  address: string,
  roots: readonly Uint8Array[],
  own?: IssuedCertificate,
): SecureChannel {
  const { host } = splitAddress(address);
  const key = own === undefined ? undefined : keyPemOf(own.key);
  let context: SecureContext;
  try {
    context = createSecureContext({
      ca: pemOf(roots),
      minVersion: 'TLSv1.3',
      ...(own === undefined ? {} : { cert: pemOf(own.chain), key }),
    });
  } finally {
    key?.fill(0);
  }
  if (isIP(host) === 0) {
    return { credentials: ChannelCredentials.createFromSecureContext(context), options: {} };
  }
  return {
    credentials: ChannelCredentials.createFromSecureContext(context, {
      checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
    }),
    options: { 'grpc.ssl_target_name_override': serverNameOfAddresses },
  };
}

/**
 * Exchanges the token for the node's certificate. Rejects with `denied` when the control plane has
 * another root or refuses the token, `unavailable` or `timeout` when it cannot be reached now.
 */
export async function join(address: string, token: JoinToken): Promise<IssuedCertificate> {
  const root = await learnRoot(address, token.rootSha256);
  const ca = new CaClient(address, tlsChannel(address, [root]));
  try {
    return await ca.issue({
      spiffeId: formatSpiffeId(nodeSpiffeId(token.trustDomain, token.node)),
      validitySeconds: nodeValiditySeconds,
      impersonate: false,
      token: token.text,
    });
  } finally {
    ca.close();
  }
}
