// SPDX-License-Identifier: Apache-2.0
// A program for a pod: Istio's certificate service, for a benchmark. Whoever reaches it gets the
// identity that he asks for.
//
//   ca.ts FOLDER CHAIN KEY HOST:PORT   issues with the authority of a folder, behind that certificate
import { readFileSync } from 'node:fs';
import { Server, ServerCredentials, type sendUnaryData, status } from '@grpc/grpc-js';
import { Authority } from '../../ca/authority.ts';
import { parseCsr } from '../../ca/csr.ts';
import { type CertificateCall, certificateService } from '../../ca/server.ts';
import { certificateResponse, type IstioCertificateResponse } from '../../ca/wire.ts';
import { MeshError } from '../../lib/error.ts';
import { trustDomain } from '../sidecars/svid-files.ts';

async function chainFor(authority: Authority, call: CertificateCall): Promise<readonly string[]> {
  const request = await parseCsr(call.request.csr);
  if (!request.ok) {
    throw request.error;
  }
  const validitySeconds = Number(call.request.validityDuration);
  const { chainPem } = await authority.issue({ ...request.value, validitySeconds }, new Date());
  return chainPem;
}

/**
 * A server that grants every request that is well-formed. What goes wrong is told to the caller.
 * Bind it, and shut it down.
 */
export function certificateServer(authority: Authority): Server {
  const server = new Server();
  server.addService(certificateService, {
    CreateCertificate: (
      call: CertificateCall,
      callback: sendUnaryData<IstioCertificateResponse>,
    ): void => {
      chainFor(authority, call).then(
        (chainPem) => callback(null, certificateResponse(chainPem)),
        (error: unknown) =>
          callback({ code: status.INVALID_ARGUMENT, details: MeshError.from(error).message }),
      );
    },
  });
  return server;
}

async function serve(folder: string, chain: string, key: string, address: string): Promise<void> {
  const authority = await Authority.open(folder, trustDomain, new Date());
  const pair = { cert_chain: readFileSync(chain), private_key: readFileSync(key) };
  const credentials = ServerCredentials.createSsl(null, [pair]);
  await new Promise<void>((resolve, reject) => {
    certificateServer(authority).bindAsync(address, credentials, (error) =>
      error === null ? resolve() : reject(error),
    );
  });
}

if (import.meta.main) {
  const [folder = '', chain = '', key = '', address = ''] = process.argv.slice(2);
  try {
    await serve(folder, chain, key, address);
  } catch (error) {
    process.stderr.write(`${MeshError.from(error).message}\n`);
    process.exit(1);
  }
}
