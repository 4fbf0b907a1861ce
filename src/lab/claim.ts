// SPDX-License-Identifier: Apache-2.0
// A program that lies: as a node it gets a certificate for one of its workloads, opens a tunnel of
// its own to a pod, and claims in headers to be somebody else. It is Node's own HTTP/2 client.
//
//   claim.ts CREDENTIAL CONTROL IDENTITY POD_IP PORT CLAIMED_IP CLAIMED_WORKLOAD
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { checkServerIdentity, connect as connectTls, createSecureContext } from 'node:tls';
import { ChannelCredentials } from '@grpc/grpc-js';
import { z } from 'zod';
import { CaClient, type IssuedCertificate } from '../ca/client.ts';
import { MeshError } from '../lib/error.ts';
import { ports } from '../lib/ports.ts';

/** What the program prints. */
export interface ClaimResult {
  /** The answer to CONNECT. */
  readonly status: number;
  /** The first line of what the application answered through the tunnel. */
  readonly answer: string;
}

const validitySeconds = 600;
const bytes = z.base64().transform((text) => Buffer.from(text, 'base64'));
const credentialSchema = z.looseObject({
  chain: z.array(bytes),
  key: bytes,
  roots: z.array(bytes),
});

interface Pem {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

function pemOf(material: Pick<IssuedCertificate, 'chain' | 'key' | 'roots'>): Pem {
  const text = (all: readonly Uint8Array[]): string => {
    return all.map((der) => new X509Certificate(der).toString()).join('');
  };
  const key = createPrivateKey({ key: Buffer.from(material.key), format: 'der', type: 'pkcs8' });
  return {
    cert: text(material.chain),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ca: text(material.roots),
  };
}

async function certificateFor(file: string, control: string, spiffeId: string): Promise<Pem> {
  const node = pemOf(credentialSchema.parse(JSON.parse(readFileSync(file, 'utf8'))));
  const host = control.slice(0, control.lastIndexOf(':'));
  // Node refuses an IP address as TLS server name (RFC 6066 section 3): the certificate is held to
  // the address, and a name goes in its place.
  const credentials = ChannelCredentials.createFromSecureContext(createSecureContext(node), {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
  });
  const options = { 'grpc.ssl_target_name_override': 'control.weft.internal' };
  const client = new CaClient(control, { credentials, options });
  try {
    return pemOf(await client.issue({ spiffeId, validitySeconds, impersonate: true }));
  } finally {
    client.close();
  }
}

async function readAnswer(stream: ClientHttp2Stream): Promise<string> {
  stream.end('GET /claim HTTP/1.1\r\nhost: claim\r\nconnection: close\r\n\r\n');
  let text = '';
  for await (const piece of stream) {
    text += String(piece);
  }
  return text.split('\r\n')[0] ?? '';
}

async function main(args: readonly string[]): Promise<ClaimResult> {
  const [file = '', control = '', identity = '', host = '', port, claimedIp, claimed] = args;
  const pem = await certificateFor(file, control, identity);
  const socket = connectTls({
    ...pem,
    host,
    port: ports.hbone,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
    // The chain is checked; the name is a SPIFFE ID, which this side does not care about.
    checkServerIdentity: () => undefined,
  });
  await once(socket, 'secureConnect');
  const session = connectHttp2(`https://${host}`, { createConnection: () => socket });
  const stream = session.request(
    {
      ':method': 'CONNECT',
      ':authority': `${host}:${port}`,
      baggage: `k8s.namespace.name=demo,k8s.pod.name=${claimed},service.name=${claimed}`,
      forwarded: `for="${claimedIp}:43210"`,
    },
    { endStream: false },
  );
  const [headers] = (await once(stream, 'response')) as [{ ':status'?: number }];
  const status = headers[':status'] ?? 0;
  const answer = status === 200 ? await readAnswer(stream) : '';
  session.close();
  return { status, answer };
}

if (import.meta.main) {
  try {
    process.stdout.write(`${JSON.stringify(await main(process.argv.slice(2)))}\n`);
  } catch (error) {
    process.stderr.write(`${MeshError.from(error).message}\n`);
    process.exit(1);
  }
}
