// SPDX-License-Identifier: Apache-2.0
// Sees from outside that each variant does what it is measured for: whoever encrypts shows a
// certificate and lets no byte of a request be read on the link, and the bare one does.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { recordUplink } from '../lab/demo-traffic.ts';
import type { Lab } from '../lab/lab.ts';
import { MeshError } from '../lib/error.ts';
import { serverPorts } from './mesh.ts';
import { podOf, type Variant } from './variants/variant.ts';

/** What was seen of one variant. */
export interface Proof {
  readonly variant: string;
  /** Requests that were answered, each with a token of its own. */
  readonly requests: number;
  /** Tokens that could be read on the link. */
  readonly readable: number;
  /** What the certificate at the server's end says it is for; absent when nothing encrypts. */
  readonly peer?: string;
  /** The TLS version that was chosen. */
  readonly tls?: string;
}

const requests = 4;

async function ask(lab: Lab, variant: Variant, token: string): Promise<void> {
  const url = `http://${lab.pod(podOf(variant, 'server')).ipv4}:${serverPorts.http}/${token}`;
  const command = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', url];
  const { stdout, stderr } = await lab.inPod(podOf(variant, 'client'), command);
  if (stdout !== '200') {
    throw new MeshError('unavailable', `${variant.name} does not answer: ${stdout} ${stderr}`);
  }
}

/** The name in a certificate and the TLS version, in what `openssl s_client` prints. */
export function handshakeOf(text: string): { readonly peer?: string; readonly tls?: string } {
  const peer = /URI:(spiffe:\/\/\S+)/.exec(text)?.[1];
  const tls = /^New, (TLSv[\d.]+),/m.exec(text)?.[1];
  return { ...(peer === undefined ? {} : { peer }), ...(tls === undefined ? {} : { tls }) };
}

// From a node: nobody captures what it sends, so it meets the far end itself.
async function handshake(lab: Lab, address: string): Promise<ReturnType<typeof handshakeOf>> {
  const script =
    'out=$(openssl s_client -connect "$0" </dev/null 2>/dev/null); echo "$out"; ' +
    'echo "$out" | openssl x509 -noout -ext subjectAltName';
  const { stdout } = await lab.onNode('node-a', ['sh', '-c', script, address]);
  return handshakeOf(stdout);
}

/**
 * Looks at every variant once. Throws MeshError `internal` when one that should encrypt does not,
 * or when the detector misses what the bare one sends.
 */
export async function verify(lab: Lab, variants: readonly Variant[]): Promise<Proof[]> {
  const recording = await recordUplink(lab, 'verify');
  const tokens = new Map<string, string[]>();
  for (const variant of variants) {
    const own = Array.from({ length: requests }, () => randomBytes(16).toString('hex'));
    tokens.set(variant.name, own);
    for (const token of own) {
      await ask(lab, variant, token);
    }
  }
  await recording.stop();
  const bytes = readFileSync(recording.file);
  const proofs: Proof[] = [];
  for (const variant of variants) {
    const { name, tlsPort } = variant;
    const readable = (tokens.get(name) ?? []).filter((token) => bytes.includes(token)).length;
    const server = lab.pod(podOf(variant, 'server')).ipv4;
    const seen = tlsPort === undefined ? {} : await handshake(lab, `${server}:${tlsPort}`);
    const proof: Proof = { variant: name, requests, readable, ...seen };
    checkProof(proof, tlsPort !== undefined);
    proofs.push(proof);
  }
  return proofs;
}

/** Throws MeshError `internal` when the proof is not what a variant owes. */
export function checkProof(proof: Proof, encrypts: boolean): void {
  const { variant, readable, peer, tls } = proof;
  const good = encrypts
    ? readable === 0 && peer !== undefined && tls === 'TLSv1.3'
    : readable === proof.requests;
  if (!good) {
    const seen = `${readable} of ${proof.requests} requests readable, ${tls ?? 'no TLS'}`;
    const whom = peer === undefined ? 'no certificate' : `certificate of ${peer}`;
    throw new MeshError('internal', `${variant} is not what it should be: ${seen}, ${whom}`);
  }
}
