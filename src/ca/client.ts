// SPDX-License-Identifier: Apache-2.0
// The client end of the certificate service. It makes the key, asks, and believes no answer that
// is not for that key and that identity.
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  connectivityState,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { MeshError, type MeshErrorCode } from '../lib/error.ts';
import { makeCsr } from './csr-writer.ts';
import {
  authorizationKey,
  certificateMessageBytesMax,
  certificateRequest,
  createCertificateMethod,
  type IstioCertificateResponse,
} from './wire.ts';

/** An X.509-SVID with its key and its trust bundle, all DER. */
export interface IssuedCertificate {
  readonly spiffeId: string;
  /** Leaf first, then intermediates, no root. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8. The holder wipes it (fill(0)) once it was handed over. */
  readonly key: Uint8Array;
  readonly roots: readonly Uint8Array[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** How a connection is secured. The options are those that belong to the credentials. */
export interface SecureChannel {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

/** One ask. */
export interface CertificateOrder {
  readonly spiffeId: string;
  readonly validitySeconds: number;
  /** True when a node asks for one of its workloads, false when it asks for itself. */
  readonly impersonate: boolean;
  /** A join token, for a node that has no certificate yet. */
  readonly token?: string;
}

/** Most certificates in one answer, roots included. */
export const chainCertificatesMax = 16;

const callTimeoutMs = 10_000;
// A connection that stands can be asked for a certificate when no new one would be let in.
const idleTimeoutMs = 2 ** 31 - 1;
// The longest wait before a lost connection is tried again.
const reconnectMsMax = 15_000;
const pemBlock = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

const codes: Readonly<Partial<Record<status, MeshErrorCode>>> = {
  [status.INVALID_ARGUMENT]: 'invalid',
  [status.RESOURCE_EXHAUSTED]: 'limit',
  [status.PERMISSION_DENIED]: 'denied',
  [status.UNAUTHENTICATED]: 'denied',
  [status.UNAVAILABLE]: 'unavailable',
  [status.DEADLINE_EXCEEDED]: 'timeout',
  [status.CANCELLED]: 'unavailable',
};

function isRoot(certificate: X509Certificate): boolean {
  return certificate.ca && certificate.checkIssued(certificate);
}

function certificatesOf(response: IstioCertificateResponse): X509Certificate[] {
  const blocks = response.certChain.flatMap((pem) => pem.match(pemBlock) ?? []);
  if (blocks.length > chainCertificatesMax) {
    throw new MeshError('limit', `the answer has over ${chainCertificatesMax} certificates`);
  }
  return blocks.map((pem) => new X509Certificate(pem));
}

function checkChain(chain: readonly X509Certificate[], roots: readonly X509Certificate[]): void {
  for (const [index, certificate] of chain.entries()) {
    const next = chain[index + 1];
    const issuers = next === undefined ? roots : [next];
    const signed = issuers.some(
      (issuer) => certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey),
    );
    if (!signed) {
      throw new MeshError('invalid', 'the answer is not a chain up to a root of its own');
    }
  }
}

function checkLeaf(leaf: X509Certificate, spiffeId: string, key: Uint8Array): void {
  if (leaf.subjectAltName !== `URI:${spiffeId}`) {
    throw new MeshError('invalid', `the answer is for ${leaf.subjectAltName}, not ${spiffeId}`);
  }
  const own = createPrivateKey({ key: Buffer.from(key.buffer), format: 'der', type: 'pkcs8' });
  if (!createPublicKey(own).equals(leaf.publicKey)) {
    throw new MeshError('invalid', 'the answer is for another key');
  }
}

function issuedOf(
  spiffeId: string,
  key: Uint8Array,
  response: IstioCertificateResponse,
): IssuedCertificate {
  const all = certificatesOf(response);
  const [leaf] = all;
  const roots = all.slice(1).filter(isRoot);
  if (leaf === undefined || roots.length === 0) {
    throw new MeshError('invalid', 'the answer lacks a leaf or a root');
  }
  const chain = [leaf, ...all.slice(1).filter((certificate) => !isRoot(certificate))];
  checkLeaf(leaf, spiffeId, key);
  checkChain(chain, roots);
  return {
    spiffeId,
    chain: chain.map((certificate) => new Uint8Array(certificate.raw)),
    key,
    roots: roots.map((certificate) => new Uint8Array(certificate.raw)),
    notBefore: leaf.validFromDate,
    notAfter: leaf.validToDate,
  };
}

/** Asks one certificate authority for certificates, over one connection. */
export class CaClient {
  readonly #client: Client;

  /**
   * @param address "host:port".
   * @param channel the root that is trusted and, once joined, the node's own certificate.
   */
  constructor(address: string, channel: SecureChannel) {
    this.#client = new Client(address, channel.credentials, {
      ...channel.options,
      'grpc.max_receive_message_length': certificateMessageBytesMax,
      'grpc.max_send_message_length': certificateMessageBytesMax,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.client_idle_timeout_ms': idleTimeoutMs,
      'grpc.max_reconnect_backoff_ms': reconnectMsMax,
      // One that leads nowhere any more is found out before it is needed.
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.enable_http_proxy': 0,
    });
  }

  /**
   * Makes a P-256 key and has it certified. Rejects with MeshError: `denied` when the CA refuses,
   * `unavailable` or `timeout` when it cannot be asked, `invalid` when its answer is not what was
   * ordered. The key is then wiped.
   */
  async issue(order: CertificateOrder): Promise<IssuedCertificate> {
    const csr = await makeCsr(order.spiffeId);
    try {
      const response = await this.#call(csr.pem, order);
      return issuedOf(order.spiffeId, csr.key, response);
    } catch (error) {
      csr.key.fill(0);
      throw MeshError.from(error);
    }
  }

  /** Connects if there is no connection, ahead of the next ask. What fails is seen by that. */
  connect(): void {
    this.#client.getChannel().getConnectivityState(true);
  }

  /**
   * Connects, however often that takes. Resolves when the server has taken the connection with the
   * certificate that was shown, which in TLS 1.3 is later than the end of the handshake here.
   * Rejects when the client is closed.
   */
  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(Number.POSITIVE_INFINITY, (error) => {
        if (error === undefined) {
          resolve();
        } else {
          reject(new MeshError('unavailable', error.message, { cause: error }));
        }
      });
    });
  }

  /** Resolves when the connection does not stand, at once when it does not now. */
  disconnected(): Promise<void> {
    const channel = this.#client.getChannel();
    const { READY } = connectivityState;
    return new Promise((resolve) => {
      if (channel.getConnectivityState(false) === READY) {
        channel.watchConnectivityState(READY, Number.POSITIVE_INFINITY, () => resolve());
      } else {
        resolve();
      }
    });
  }

  /** Closes the connection; asks under way fail. */
  close(): void {
    this.#client.close();
  }

  #call(csrPem: string, order: CertificateOrder): Promise<IstioCertificateResponse> {
    const { path, requestSerialize, responseDeserialize } = createCertificateMethod;
    const metadata = new Metadata();
    if (order.token !== undefined) {
      metadata.set(authorizationKey, `Bearer ${order.token}`);
    }
    const request = certificateRequest({
      csrPem,
      validitySeconds: order.validitySeconds,
      ...(order.impersonate ? { impersonatedIdentity: order.spiffeId } : {}),
    });
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        { deadline: Date.now() + callTimeoutMs },
        (error: ServiceError | null, response?: IstioCertificateResponse) => {
          if (error === null && response !== undefined) {
            resolve(response);
            return;
          }
          const code = codes[error?.code ?? status.INTERNAL] ?? 'internal';
          reject(new MeshError(code, error?.details ?? 'no answer', { cause: error }));
        },
      );
    });
  }
}
