// SPDX-License-Identifier: Apache-2.0
// An admin socket that answers what a test wants.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type {
  CertificatesAnswer,
  ConnectionsAnswer,
  ExplainAnswer,
  ProxyStatus,
} from '../../src/lib/admin-api.ts';

/** What each path answers; an error text is answered with status 400. */
export interface FakeAnswers {
  readonly '/status'?: ProxyStatus;
  readonly '/certificates'?: CertificatesAnswer;
  readonly '/connections'?: ConnectionsAnswer;
  readonly '/explain'?: ExplainAnswer | string;
  readonly '/config_dump'?: unknown;
}

/** Serves until the test ends; answers the socket's path. */
export async function serveFakeAdmin(test: Test, answers: FakeAnswers): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-fake-'));
  const path = join(folder, 'admin.sock');
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://x');
    const answer = answers[pathname as keyof FakeAnswers];
    if (answer === undefined || typeof answer === 'string') {
      response.writeHead(answer === undefined ? 404 : 400).end(answer ?? 'not found');
      return;
    }
    response.end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  test.teardown(() => {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true });
  });
  return path;
}

/** A proxy's status. */
export function statusOf(node: string, change: Partial<ProxyStatus> = {}): ProxyStatus {
  const pod = { uid: 'u1', name: 'client', namespace: 'demo', serviceAccount: 'client' };
  return {
    ...{ node, version: '0.1.0', pid: 1, uptimeSeconds: 90, ready: true, pending: [] },
    ...{
      logLevel: 'info',
      synced: true,
      capture: {
        kernelPods: 1,
        counters: { outbound_captured: 3, pass_lost: 0 },
        sockmapRefused: [],
      },
      crypto: {
        mode: 'avx512',
        operations: {
          ecdsa_verify: {
            ...{ lanes: [0, 0, 0, 0, 0, 0, 1, 2], scalar: 2 },
            ...{ laneSeconds: 0.00023, scalarSeconds: 0.0001 },
          },
          ecdsa_sign: {
            ...{ lanes: [0, 0, 0, 0, 0, 0, 0, 0], scalar: 0 },
            ...{ laneSeconds: 0, scalarSeconds: 0 },
          },
        },
        inlined: 0,
        keyShares: 0,
      },
      workloads: 4,
      services: 2,
      policies: 1,
    },
    pods: [{ ...pod, identity: 'spiffe://cluster.local/ns/demo/sa/client', carried: true }],
    ...{ certificates: 2, firstCertificateEnds: '2026-01-01T00:00:00Z', notes: ['UDP is not'] },
    ...change,
  };
}
