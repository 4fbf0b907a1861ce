// SPDX-License-Identifier: Apache-2.0
// The connection that certificates are asked for over, and how a newer one takes its place.
import {
  CaClient,
  type CertificateOrder,
  type IssuedCertificate,
  type SecureChannel,
} from '../src/ca/client.ts';

/** How long asks under way may go on over the connection that a newer one replaced. */
export const oldConnectionMs = 15_000;

/**
 * One connection to the certificate authority at a time. A newer one takes over once it stands:
 * when the control plane does not take the new one, the old one may be all there is to heal by.
 * One that breaks is not made again when there is a newer one. Main thread only.
 */
export class CaConnection {
  readonly #address: string;
  #current: CaClient;
  #next: CaClient | undefined;
  #closed = false;

  /**
   * @param address "host:port" of the control plane.
   * @param channel what the first connection trusts and shows.
   */
  constructor(address: string, channel: SecureChannel) {
    this.#address = address;
    this.#current = new CaClient(address, channel);
  }

  /** Asks over the connection there is. Rejects as CaClient.issue does. */
  async issue(order: CertificateOrder): Promise<IssuedCertificate> {
    const client = this.#current;
    try {
      return await client.issue(order);
    } catch (error) {
      if (client === this.#current) {
        throw error;
      }
      return await this.#current.issue(order); // It was cut off by the change.
    }
  }

  /** Sees to it that there is a connection to ask over. */
  connect(): void {
    if (!this.#closed) {
      this.#current.connect();
    }
  }

  /** Connects anew with this channel. Takes that connection for all asks as soon as it stands. */
  renew(channel: SecureChannel): void {
    if (this.#closed) {
      return;
    }
    const next = new CaClient(this.#address, channel);
    this.#next?.close();
    this.#next = next;
    next.connected().then(
      () => this.#take(next, oldConnectionMs),
      () => undefined, // It was closed: a newer one is on its way, or we are.
    );
    void this.#current.disconnected().then(() => this.#take(next, 0));
  }

  /** Closes what is open; asks under way fail. */
  close(): void {
    this.#closed = true;
    this.#next?.close();
    this.#current.close();
  }

  #take(next: CaClient, graceMs: number): void {
    if (this.#next !== next || this.#closed) {
      return;
    }
    const old = this.#current;
    this.#current = next;
    this.#next = undefined;
    if (graceMs === 0) {
      old.close();
    } else {
      setTimeout(() => old.close(), graceMs).unref();
    }
  }
}
