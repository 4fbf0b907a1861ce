// SPDX-License-Identifier: Apache-2.0
// A control plane on plain grpc-js for tests of the node proxy: a test authority that issues what
// is asked for, and a delta server that sends what the test says, on one TLS port.
import { type CertificateService, serveCertificates } from './certificate-service.ts';
import { DeltaServer } from './delta-server.ts';
import { IssuingCa } from './issuing-ca.ts';
import { joinToken } from './join-token.ts';

/** The running control plane, and a join token for node "a". */
export interface FakeControl {
  readonly service: CertificateService;
  readonly delta: DeltaServer;
  readonly token: string;
  close(): void;
}

/** `issuing` is waited for before each certificate of a pod. */
export async function startFakeControl(issuing?: () => Promise<void>): Promise<FakeControl> {
  const ca = await IssuingCa.create();
  const delta = new DeltaServer();
  const service = await serveCertificates(
    ca,
    async ({ csr, impersonated }) => {
      if (impersonated !== undefined) {
        await issuing?.();
      }
      return [(await ca.issueFor(csr)).toString('pem'), ca.rootPem];
    },
    { more: delta },
  );
  const token = await joinToken(ca.rootSha256);
  return { service, delta, token, close: () => service.close() };
}
