// SPDX-License-Identifier: Apache-2.0
// A CreateCertificate service on plain grpc-js for tests of its clients.
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
} from '@grpc/grpc-js';
import {
  certificateResponse,
  createCertificateMethod,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  impersonatedIdentityOf,
} from '../../src/ca/wire.ts';
import type { IssuingCa } from './issuing-ca.ts';

/** One ask, as the service saw it. */
export interface Ask {
  readonly csr: string;
  readonly validitySeconds: bigint;
  readonly impersonated: string | undefined;
  readonly authorization: string | undefined;
  /** Subject alternative names of the client certificate. */
  readonly client: string | undefined;
}

/** Answers an ask with PEM certificates, or throws an error with a gRPC `code`. */
export type Answer = (ask: Ask) => Promise<string[]>;

/** A running service. */
export interface CertificateService {
  readonly address: string;
  readonly asks: Ask[];
  /** Ends the connections there are; new ones are taken. */
  drop(): void;
  close(): void;
}

/** Serves on TLS with a certificate of `ca`, which client certificates have to be from as well. */
export async function serveCertificates(
  ca: IssuingCa,
  answer: Answer,
  options: {
    readonly requireClient?: boolean;
    /** Where to listen; localhost unless it says otherwise. */
    readonly host?: string;
    /** More services for the same port. */
    readonly more?: { addTo(server: Server): void };
  } = {},
): Promise<CertificateService> {
  const asks: Ask[] = [];
  const server = new Server();
  const handler = (
    call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
    done: sendUnaryData<IstioCertificateResponse>,
  ): void => {
    const peer = call.getAuthContext().sslPeerCertificate as
      | { subjectaltname?: string }
      | undefined;
    const ask = {
      csr: call.request.csr,
      validitySeconds: call.request.validityDuration,
      impersonated: impersonatedIdentityOf(call.request),
      authorization: call.metadata.get('authorization')[0]?.toString(),
      client: peer?.subjectaltname,
    };
    asks.push(ask);
    answer(ask).then(
      (chain) => done(null, certificateResponse(chain)),
      (error: ServiceError) => done(error),
    );
  };
  server.addService({ createCertificate: createCertificateMethod }, { createCertificate: handler });
  options.more?.addTo(server);
  const { chainPem, keyPem } = await ca.serverCertificate();
  const credentials = ServerCredentials.createSsl(
    Buffer.from(ca.rootPem),
    [{ cert_chain: Buffer.from(chainPem), private_key: Buffer.from(keyPem) }],
    options.requireClient ?? false,
  );
  const host = options.host ?? 'localhost';
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${host}:0`, credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    address: `localhost:${port}`,
    asks,
    drop: () => server.drain(`${host}:${port}`, 0),
    close: () => server.forceShutdown(),
  };
}
