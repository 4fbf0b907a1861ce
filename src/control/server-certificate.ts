// SPDX-License-Identifier: Apache-2.0
// The control plane's own certificate, from its own CA, renewed while it runs.
import { createPrivateKey } from 'node:crypto';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import type { Authority } from '../ca/authority.ts';
import { workloadSpiffeId } from '../spiffe/id.ts';
import type { ServerMaterial } from './tls-port.ts';

/** The workload identity of every control plane. */
export const controlIdentity = { namespace: 'weft-system', serviceAccount: 'control' } as const;

/** A key and certificate for the server, and when they should be replaced. */
export interface ServerCertificate {
  readonly material: ServerMaterial;
  readonly renewAt: Date;
}

// Link-local addresses mean nothing without a zone, which a certificate cannot hold.
function machineNames(): string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map(({ address }) => address)
    .filter((address) => !/^fe80:/i.test(address));
  return ['localhost', '127.0.0.1', '::1', hostname(), ...addresses];
}

/**
 * Makes a fresh key and a certificate for it with the names of this machine and `further` ones.
 */
export async function issueServerCertificate(
  authority: Authority,
  further: readonly string[],
  now: Date,
): Promise<ServerCertificate> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const names = [...new Set([...machineNames(), ...further])];
  const leaf = await authority.issue(
    {
      publicKey: keys.publicKey,
      spiffeId: workloadSpiffeId(authority.trustDomain, controlIdentity),
      dnsNames: names.filter((name) => isIP(name) === 0),
      ipAddresses: names.filter((name) => isIP(name) !== 0),
      validitySeconds: 0,
      forControl: true,
    },
    now,
  );
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  pkcs8.fill(0);
  return {
    material: {
      keyPem: String(key.export({ format: 'pem', type: 'pkcs8' })),
      chainPem: leaf.chainPem,
      rootPem: authority.rootPem,
    },
    renewAt: new Date((now.getTime() + leaf.notAfter.getTime()) / 2),
  };
}
