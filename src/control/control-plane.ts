// SPDX-License-Identifier: Apache-2.0
// The control plane: registry to snapshot to xDS, and the CA beside it, on one TLS port.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { Authority } from '../ca/authority.ts';
import { readGivenAuthority } from '../ca/given-authority.ts';
import { JoinTokens } from '../ca/join-tokens.ts';
import { LeafLedger } from '../ca/leaf-ledger.ts';
import { CertificateServer, certificateService } from '../ca/server.ts';
import { certificateMessageBytesMax } from '../ca/wire.ts';
import { MeshError } from '../lib/error.ts';
import { type FolderLock, lockFolder } from '../lib/lock.ts';
import type { Logger } from '../lib/log.ts';
import { ensurePrivateFolder } from '../lib/private-files.ts';
import { formatSpiffeId, nodeOf } from '../spiffe/id.ts';
import { AdsServer, adsService } from '../xds/server.ts';
import type { Caller, DeltaStream } from '../xds/stream.ts';
import { messageBytesMax } from '../xds/wire.ts';
import { callerOf } from './caller.ts';
import { type CommandHandler, type CommandRoutes, CommandSocket } from './command-socket.ts';
import type { ControlConfig } from './config.ts';
import { GrpcSide } from './grpc-side.ts';
import { MeshFollower } from './mesh-follower.ts';
import type { RotationVerb } from './rotation.ts';
import { issueServerCertificate } from './server-certificate.ts';
import { TlsPort } from './tls-port.ts';
import { TrustKeeper } from './trust-keeper.ts';

/** How long open calls may take to end when the process is told to stop. */
export const shutdownMs = 3_000;

/** How long a client without a certificate may stay after its answer, and before it asks. */
export const joiningIdleMs = 2_000;

const renewRetryMs = 60_000;

interface ControlParts {
  readonly lock: FolderLock;
  readonly authority: Authority;
  readonly ledger: LeafLedger;
}

/** A running control plane. */
export class ControlPlane {
  readonly #config: ControlConfig;
  readonly #log: Logger;
  readonly #lock: FolderLock;
  readonly #authority: Authority;
  readonly #ledger: LeafLedger;
  readonly #ads: AdsServer;
  readonly #trust: TrustKeeper;
  // Callers without a certificate get a side of their own, with room for a CSR and no more.
  #joining: GrpcSide | undefined;
  #known: GrpcSide | undefined;
  #mesh: MeshFollower | undefined;
  #port: TlsPort | undefined;
  #commands: CommandSocket | undefined;
  #renewal: NodeJS.Timeout | undefined;

  private constructor(config: ControlConfig, log: Logger, parts: ControlParts) {
    const { authority, ledger, lock } = parts;
    this.#config = config;
    this.#log = log;
    this.#lock = lock;
    this.#authority = authority;
    this.#ledger = ledger;
    const ads = new AdsServer({ log, callerOf: (stream) => this.#nodeCalling(stream) });
    this.#ads = ads;
    this.#trust = new TrustKeeper({
      ...{ authority, ledger, ads, log },
      places: (...workload) => this.#mesh?.snapshot.places(...workload) ?? false,
      onRoots: () => this.#renew(),
      now: () => new Date(),
    });
  }

  /**
   * Starts a control plane and returns it with the port it serves on. Throws MeshError: `conflict`
   * when the state folder or a port is taken, `invalid` when the manifests have errors. Starting
   * with part of the policies would open what the missing part closes.
   */
  static async start(
    config: ControlConfig,
    log: Logger,
  ): Promise<{ readonly plane: ControlPlane; readonly port: number }> {
    await ensurePrivateFolder(config.state);
    const lock = await lockFolder(config.state);
    let plane: ControlPlane | undefined;
    try {
      const now = new Date();
      const given = config.ca && (await readGivenAuthority(config.ca, now));
      const authority = await Authority.open(config.state, config.trustDomain, now, given);
      const ledger = await LeafLedger.open(config.state, now);
      plane = new ControlPlane(config, log, { lock, authority, ledger });
      return { plane, port: await plane.#serve() };
    } catch (thrown) {
      if (plane !== undefined) {
        await plane.#release();
      }
      await lock.release();
      throw MeshError.from(thrown);
    }
  }

  async #serve(): Promise<number> {
    const { config, trustDomain } = this.#config;
    this.#mesh = await MeshFollower.start(config, trustDomain, this.#ads, this.#log, (objects) =>
      this.#trust.deny(objects),
    );
    await this.#trust.maintain();
    this.#trust.start();
    const certificates = await this.#certificates();
    const sideOf = (bytesMax: number, idleMs?: number): GrpcSide => {
      const side = new GrpcSide(bytesMax, idleMs);
      side.addService(adsService, this.#ads.handlers);
      side.addService(certificateService, certificates.handlers);
      return side;
    };
    this.#joining = sideOf(certificateMessageBytesMax, joiningIdleMs);
    this.#known = sideOf(messageBytesMax);
    const port = await this.#listen();
    this.#commands = await CommandSocket.open(this.#config.state, this.#routes(), this.#log);
    return port;
  }

  #routes(): CommandRoutes {
    const { rotation } = this.#trust;
    const step = (verb: RotationVerb): [string, CommandHandler] => [
      `POST /ca/${verb}`,
      (query) => rotation.command(verb, query.get('force') === 'true'),
    ];
    return new Map<string, CommandHandler>([
      ['GET /ca', () => rotation.status()],
      ['GET /xds', () => ({ counts: this.#ads.counts, streams: this.#ads.status })],
      ...(['rotate', 'prepare', 'activate', 'finish'] as const).map(step),
    ]);
  }

  async #certificates(): Promise<CertificateServer> {
    const { state, trustDomain } = this.#config;
    return new CertificateServer({
      log: this.#log,
      authority: this.#authority,
      ledger: this.#ledger,
      denies: (...holder) => this.#trust.denies(...holder),
      tokens: await JoinTokens.open(state, trustDomain, new Date()),
      callerOf,
      places: (...workload) => this.#mesh?.snapshot.places(...workload) ?? false,
      now: () => new Date(),
    });
  }

  async #listen(): Promise<number> {
    const accept = (socket: TLSSocket): void => {
      const side = socket.authorized ? this.#known : this.#joining;
      side?.inject(socket);
    };
    const own = await issueServerCertificate(this.#authority, this.#config.san, new Date());
    this.#port = new TlsPort(own.material, this.#log, accept);
    const port = await this.#port.listen(this.#config.listen);
    this.#renewAt(own.renewAt);
    return port;
  }

  #renewAt(time: Date): void {
    const delay = Math.max(0, time.getTime() - Date.now());
    this.#renewal = setTimeout(() => void this.#renew(), delay);
  }

  async #renew(): Promise<void> {
    clearTimeout(this.#renewal);
    let next = new Date(Date.now() + renewRetryMs);
    try {
      const own = await issueServerCertificate(this.#authority, this.#config.san, new Date());
      this.#port?.renew(own.material);
      next = own.renewAt;
      this.#log.info({ next }, 'own certificate renewed');
    } catch (thrown) {
      const { message } = MeshError.from(thrown);
      this.#log.error({ message, next }, 'own certificate not renewed');
    }
    this.#renewAt(next);
  }

  #nodeCalling(stream: DeltaStream): Caller | undefined {
    const proven = callerOf(stream);
    if (proven === undefined) {
      return undefined;
    }
    const { spiffeId: id, serial } = proven;
    const name = formatSpiffeId(id);
    const node = id.trustDomain === this.#authority.trustDomain ? nodeOf(id) : undefined;
    const denied = this.#trust.denies(name, serial);
    if (node === undefined || denied) {
      const reason = denied ? 'the caller is on the deny list' : 'the caller is not a node';
      this.#log.warn({ caller: name, serial, reason }, 'stream refused');
      return undefined;
    }
    return { name, node, serial };
  }

  /** Ends open streams and calls, and gives the state folder free. */
  async stop(): Promise<void> {
    this.#port?.stopListening();
    this.#ads.close();
    // The last words of the streams go out before their sessions are told to close.
    await nextTurn();
    await Promise.all([this.#joining?.stop(shutdownMs), this.#known?.stop(shutdownMs)]);
    await this.#release();
    await this.#lock.release();
  }

  async #release(): Promise<void> {
    clearTimeout(this.#renewal);
    this.#trust.stop();
    await this.#commands?.close();
    this.#mesh?.stop();
    this.#port?.stopListening();
    await Promise.all([this.#joining?.stop(0), this.#known?.stop(0)]);
    this.#port?.destroy();
    await this.#ledger.close();
  }
}
