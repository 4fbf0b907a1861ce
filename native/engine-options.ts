// SPDX-License-Identifier: Apache-2.0
// What an engine is made with and told: settings, limits, identities, pods.

/**
 * What one pod, peer or node may take. What is over a limit is refused and counted; nobody else
 * notices. "In one worker" holds for each worker apart.
 */
export interface EngineLimits {
  /**
   * Connections and tunnels of one pod, in all workers. Default 20,000. Peers at one address may
   * have half of them in streams and plaintext connections.
   */
  readonly connectionsPerPod?: number;
  /** Connections that wait for the pod's certificate, each direction, in one worker. 1,024. */
  readonly heldPerPod?: number;
  /** Inbound TLS handshakes under way, or failed less than 1 s ago, in one worker. 2,048. */
  readonly handshakesPerPod?: number;
  /** The same of one source address, in all workers. 256. */
  readonly handshakesPerSource?: number;
  /** Inbound tunnels of one source address to one pod, in all workers. 512. */
  readonly tunnelsPerSource?: number;
  /** Outbound tunnels of one pod to one peer, in one worker. 128. */
  readonly tunnelsPerPeer?: number;
  /** Of these, how many are opened because those that are there are congested. 4. */
  readonly busyTunnelsPerPeer?: number;
  /** Streams opened in one outbound tunnel. 100; 1 gives every connection a tunnel of its own. */
  readonly streamsPerTunnel?: number;
  /** Receive windows promised and bytes buffered, of one pod. 1 GiB; half for one address. */
  readonly bytesPerPod?: number;
  /** The same of all pods. 4 GiB. */
  readonly bytesPerNode?: number;
  /** Buffered in one plaintext connection, each direction. 64 KiB; at least 4 KiB. */
  readonly passthroughBytes?: number;
  /** Encoded events that wait to be taken; more are dropped and counted. 4 MiB. */
  readonly eventQueueBytes?: number;
  /** Certificates one worker remembers as verified. 4,096; with 0 each chain is verified anew. */
  readonly verifiedLeaves?: number;
  /**
   * TLS sessions one pod keeps for resumption, in one worker. 1,024; with 0 none is resumed, and
   * peers get no tickets.
   */
  readonly resumableSessions?: number;
  /** Those of them towards one peer. 4. */
  readonly resumablePerPeer?: number;
  /** Handshakes of one worker whose operations are gathered; more compute by themselves. 1,024. */
  readonly handshakeFibers?: number;
}

/** Settings of one engine. All have defaults; sizes are bytes, times milliseconds. */
export interface EngineOptions {
  /** Worker threads, each with its own loop and sockets. Default: half of the cores, at least 1. */
  readonly workers?: number;
  /**
   * Where capture in the kernel is pinned. Pods that are not captured there, and all when it is not
   * given, are captured by netfilter.
   */
  readonly bpfPins?: string;
  /** Set on every socket the proxy opens in a pod, so that capture leaves it alone. */
  readonly mark?: number;
  /** Congestion control for sockets towards applications; empty leaves the system's default. */
  readonly appCongestion?: string;
  /** The same for tunnels. Both are "cubic" by default. */
  readonly tunnelCongestion?: string;
  /**
   * After work a worker looks for more for so many microseconds, at most 1,000, before it sleeps,
   * unless somebody else wants its core. Answers come sooner, and a core is kept busy with waiting:
   * only for cores that nobody else needs. Default 0.
   */
  readonly busyPollMicros?: number;
  readonly connectTimeoutMs?: number;
  /** For TLS, and then again for the peer's HTTP/2 SETTINGS. Default 10,000 each. */
  readonly handshakeTimeoutMs?: number;
  /** How long captured connections wait for the pod's certificate before they are refused. */
  readonly identityTimeoutMs?: number;
  /** Idle pooled tunnels are closed after this. With 0 one that falls idle is not used again. */
  readonly tunnelIdleMs?: number;
  /**
   * What becomes of connections to destinations that the control plane does not know: they pass
   * through in plaintext (allowAny, the default) or are refused (registryOnly).
   */
  readonly outboundPolicy?: 'allowAny' | 'registryOnly';
  /**
   * How pods of one node reach each other: past the proxy, where the agent says that they may and
   * policy can be decided in the kernel (direct, the default), or as all others do (tunnel).
   */
  readonly sameNode?: 'tunnel' | 'direct';
  /**
   * Another process carries this node still. Listeners of pods that are inherited from it are not
   * served, and direct connections left to it, until `takeOver()`.
   */
  readonly takesOver?: boolean;
  /** A tunnel that is silent for so long is asked by PING. Default 10,000. */
  readonly pingAfterMs?: number;
  /** And ends when it is silent, or leaves bytes unacknowledged, for so long. Default 20,000. */
  readonly deadAfterMs?: number;
  /** An application's connection that moves no byte for so long is reset. Default 0: never. */
  readonly streamIdleMs?: number;
  /** The same for one that is half closed. Default 0: never. */
  readonly halfClosedIdleMs?: number;
  /**
   * A tunnelled connection whose peer has taken nothing for so long, though there is something for
   * it, is reset at both ends. Default 3,600,000; 0: never. It is looked for once a second.
   */
  readonly stalledMs?: number;
  /** How TLS records are driven: in place (the default), or by the TLS library. */
  readonly tlsRow?: 'record' | 'library';
  /**
   * How handshakes compute: in the TLS library where they stand (off), on fibers one operation after
   * the other (scalar), or eight operations at once (avx512, where the processor has AVX-512 IFMA).
   * Default: avx512 where the processor has it, else off. The environment's `WEFT_CRYPTO` comes
   * before it.
   */
  readonly crypto?: CryptoMode;
  /** Whose HTTP/2 framing: our own (the default), or nghttp2's. */
  readonly h2Row?: 'own' | 'nghttp2';
  readonly limits?: EngineLimits;
  /**
   * Makes the engine sum up: batches hold totals and the lines of the access log instead of each
   * connection by itself.
   */
  readonly accessLog?: {
    /** The process's name in each line. */
    readonly process: string;
    /** A line for each connection that opens, too, where all have one. */
    readonly opened: boolean;
    /** Which connections have a line: all (the default), those that fail, or none. */
    readonly lines?: 'on' | 'failed' | 'off';
  };
}

/** How handshakes may be asked to compute. */
export type CryptoMode = 'off' | 'scalar' | 'avx512';

/**
 * How they compute: portable, gathered as for lanes and computed by the library, is for tests, and
 * for `WEFT_CRYPTO` alone.
 */
export type CryptoModeInUse = CryptoMode | 'portable';

/** A public-key operation that is gathered. */
export type CryptoOperation =
  | 'x25519_derive'
  | 'x25519_keygen'
  | 'ecdsa_verify'
  | 'ecdsa_sign'
  | 'p256_keygen'
  | 'p256_derive';

/** What was computed for handshakes, in all workers. */
export interface CryptoStats {
  readonly mode: CryptoModeInUse;
  readonly operations: Readonly<
    Record<
      CryptoOperation,
      {
        /** Calls of the eight-lane kernel, by how many lanes were filled: from 1 to 8. */
        readonly lanes: readonly number[];
        /** Operations done one after the other. */
        readonly scalar: number;
        /** In those calls. */
        readonly laneSeconds: number;
        /** In operations done one after the other. */
        readonly scalarSeconds: number;
      }
    >
  >;
  /** Steps of handshakes that found no fiber, and computed by themselves. */
  readonly inlined: number;
  /** Key shares made before a handshake asked, which count in no operation. */
  readonly keyShares: number;
}

/** What this processor can do for handshakes. */
export interface CryptoProbe {
  readonly avx512: boolean;
  /** What would be chosen without a setting; empty where `WEFT_CRYPTO` asks for what is not there. */
  readonly mode: CryptoModeInUse | '';
  /** Why not. */
  readonly error: string;
  /** From how many operations on eight lanes are quicker; 0: never. */
  readonly breakEvens: Readonly<Record<CryptoOperation, number>>;
}

/** What programs in the kernel do for this node. */
export interface CaptureStats {
  /** Pods that they capture. */
  readonly kernelPods: number;
  /** How often they ended in which way, by name; empty where there are none. */
  readonly counters: Readonly<Record<string, number>>;
  /** Slots that pods have taken for direct connections: those that are open, or about to be. */
  readonly directSlots: number;
  /** Gates that keep the sockmap tier from a pod which asked for it. */
  readonly sockmapRefused: readonly string[];
}

/** Peers that are refused whatever their certificate says. */
export interface DenyList {
  /** SPIFFE IDs. */
  readonly identities: readonly string[];
  /** Serial numbers of leaf certificates, in hexadecimal. */
  readonly serials: readonly string[];
}

/** One X.509-SVID with key and bundle, as DER. */
export interface IdentityMaterial {
  readonly spiffeId: string;
  /** Leaf first, then intermediates, no root. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8. Wiped by the call that takes it. */
  readonly key: Uint8Array;
  /** Trust bundle of the identity's trust domain. */
  readonly roots: readonly Uint8Array[];
}

/** A pod whose traffic this engine carries. */
export interface PodSpec {
  readonly uid: string;
  /** Workload uid in the tables (WDS), by which policy and metadata are found. */
  readonly workloadUid: string;
  /** The SPIFFE ID its connections carry. Its material may come later, by setIdentity. */
  readonly spiffeId: string;
  /** An open descriptor of the pod's network namespace. The engine duplicates it. */
  readonly netns: number;
  /** Sockets that another process listened with, duplicated too; what is missing is opened. */
  readonly listeners?: Listeners;
}

/** Descriptors of listening sockets of one pod, by port. */
export type Listeners = Readonly<Record<number, number>>;
