// SPDX-License-Identifier: Apache-2.0
// The node's own identity: joined once, kept on disk, renewed at half life, and shown on every
// connection to the control plane.
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type { CertificateOrder, IssuedCertificate, SecureChannel } from '../src/ca/client.ts';
import { Backoff, renewalDelayMs } from '../src/lib/backoff.ts';
import { MeshError } from '../src/lib/error.ts';
import type { Logger } from '../src/lib/log.ts';
import { nodeOf, parseSpiffeId } from '../src/spiffe/id.ts';
import { CaConnection } from './ca-connection.ts';
import { retiredRenewalMs } from './certs.ts';
import { loadCredential, prepareStateDir, saveCredential } from './credential-file.ts';
import { join, nodeValiditySeconds, parseJoinToken, tlsChannel } from './join.ts';
import type { TrustedRoots, TrustFollower } from './trust.ts';

/** Where the credential comes from. */
export interface NodeCredentialOptions {
  /** The node's name: the join token has to be for it. */
  readonly node: string;
  /** "host:port" of the control plane. */
  readonly control: string;
  readonly stateDir: string;
  /** Read only when there is no usable credential on disk. */
  readonly joinTokenFile: string | undefined;
  readonly log: Logger;
}

const timerMsMax = 2 ** 31 - 1;

function retryBackoff(): Backoff {
  return new Backoff({ firstMs: 500, maxMs: 150_000, jitter: 0.2 });
}

function usable(credential: IssuedCertificate, node: string): boolean {
  const id = parseSpiffeId(credential.spiffeId);
  return id.ok && nodeOf(id.value) === node && credential.notAfter.getTime() > Date.now();
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new MeshError('denied', `the join token ${path} cannot be read`, { cause });
  }
}

async function joinWithFile(options: NodeCredentialOptions): Promise<IssuedCertificate> {
  const { node, control, joinTokenFile } = options;
  if (joinTokenFile === undefined) {
    throw new MeshError('denied', 'this node has no credential: it needs a join token');
  }
  const token = parseJoinToken(readToken(joinTokenFile));
  if (!token.ok) {
    throw token.error;
  }
  if (token.value.node !== node) {
    throw new MeshError('invalid', `the join token is for node ${token.value.node}, not ${node}`);
  }
  return await join(control, token.value);
}

function passes(error: MeshError): boolean {
  return error.code === 'unavailable' || error.code === 'timeout';
}

function sameRoots(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  const texts = [a, b].map((roots) => roots.map((root) => Buffer.from(root).toString('hex')));
  return texts[0]?.join() === texts[1]?.join();
}

/** The node's credential while the process runs. It issues for workloads in the node's name. */
export class NodeCredential implements TrustFollower {
  readonly #options: NodeCredentialOptions;
  readonly #backoff = retryBackoff();
  readonly #listeners = new Set<() => void>();
  readonly #ca: CaConnection;
  #current: IssuedCertificate;
  #trusted: TrustedRoots | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(options: NodeCredentialOptions, current: IssuedCertificate) {
    this.#options = options;
    this.#current = current;
    this.#ca = new CaConnection(options.control, this.channel());
    this.#scheduleRenewal();
  }

  /**
   * Takes the credential from disk, or joins. Waits for a control plane that is away, until
   * `signal`; rejects when the token is no good, or a saved credential is open to others.
   */
  static async open(options: NodeCredentialOptions, signal: AbortSignal): Promise<NodeCredential> {
    const { stateDir, node, log } = options;
    prepareStateDir(stateDir);
    const saved = loadCredential(stateDir);
    if (saved !== undefined && usable(saved, node)) {
      return new NodeCredential(options, saved);
    }
    const backoff = new Backoff({ firstMs: 100, maxMs: 15_000, jitter: 0.2 });
    for (;;) {
      try {
        const joined = await joinWithFile(options);
        // A token works once: what it bought is kept even when we are being stopped.
        saveCredential(stateDir, joined);
        log.info({ identity: joined.spiffeId, notAfter: joined.notAfter }, 'node joined');
        signal.throwIfAborted();
        return new NodeCredential(options, joined);
      } catch (thrown) {
        const error = MeshError.from(thrown);
        if (!passes(error)) {
          throw error;
        }
        const waitMs = Math.round(backoff.next());
        log.warn({ waitMs, reason: error.message }, 'cannot join yet');
        await wait(waitMs, undefined, { signal });
      }
    }
  }

  /** The node's SPIFFE ID. */
  get spiffeId(): string {
    return this.#current.spiffeId;
  }

  /** Mutual TLS to the control plane with the certificate of this moment. */
  channel(): SecureChannel {
    return tlsChannel(this.#options.control, this.#current.roots, this.#current);
  }

  /** Asks the CA in the node's name. Rejects as CaClient.issue does. */
  issue(order: CertificateOrder): Promise<IssuedCertificate> {
    return this.#ca.issue(order);
  }

  /** Sees to it that there is a connection to ask over. */
  connect(): void {
    this.#ca.connect();
  }

  /** Calls `listener` after each renewal: connections should be made anew. */
  onRenewed(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /**
   * The control plane is checked against these roots from the next connection on. A certificate
   * under a retired root is renewed soon, over the connection there is: where the root is gone
   * already, the control plane takes that certificate on no new one.
   */
  setTrust(trusted: TrustedRoots): void {
    if (this.#closed) {
      return;
    }
    this.#trusted = trusted;
    const { roots } = this.#current;
    if (!sameRoots(roots, trusted.roots)) {
      this.#current = { ...this.#current, roots: trusted.roots };
      saveCredential(this.#options.stateDir, this.#current);
      if (!trusted.retires(this.#current.chain)) {
        this.#ca.renew(this.channel());
      }
    }
    this.#scheduleRenewal();
  }

  #scheduleRenewal(): void {
    const half = renewalDelayMs(this.#current, Date.now());
    const retired = this.#trusted?.retires(this.#current.chain) === true;
    this.#schedule(retired ? Math.min(half, Math.random() * retiredRenewalMs) : half);
  }

  /** Stops renewing and wipes the key in memory. The file stays, for the next start. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#ca.close();
    this.#current.key.fill(0);
  }

  #schedule(waitMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        this.#renew().catch((error: unknown) => this.#failed(MeshError.from(error)));
      },
      Math.min(waitMs, timerMsMax),
    );
  }

  async #renew(): Promise<void> {
    const renewed = await this.#ca.issue({
      spiffeId: this.spiffeId,
      validitySeconds: nodeValiditySeconds,
      impersonate: false,
    });
    if (this.#closed) {
      renewed.key.fill(0);
      return;
    }
    const old = this.#current;
    this.#current = { ...renewed, roots: this.#trusted?.roots ?? renewed.roots };
    saveCredential(this.#options.stateDir, this.#current);
    old.key.fill(0);
    this.#ca.renew(this.channel());
    this.#backoff.reset();
    this.#scheduleRenewal();
    this.#options.log.info({ notAfter: renewed.notAfter }, 'node certificate renewed');
    for (const listener of this.#listeners) {
      listener();
    }
  }

  // The certificate of before stays in use while it lasts.
  #failed(error: MeshError): void {
    if (this.#closed) {
      return;
    }
    const waitMs = Math.round(this.#backoff.next());
    this.#options.log.warn({ waitMs, reason: error.message }, 'node certificate not renewed');
    this.#schedule(waitMs);
  }
}
