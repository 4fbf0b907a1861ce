// SPDX-License-Identifier: Apache-2.0
// What a node proxy says of itself on its admin socket, and the shell's verbs read.

/** The answer of GET /status. */
export interface ProxyStatus {
  readonly node: string;
  readonly version: string;
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly ready: boolean;
  /** What it waits for; empty when it is ready. */
  readonly pending: readonly string[];
  readonly logLevel: string;
  /** Whether it has been told the control plane's state since it started. */
  readonly synced: boolean;
  readonly pods: readonly PodStatus[];
  /** How pods are captured. */
  readonly capture: CaptureStatus;
  /** How handshakes compute. */
  readonly crypto: CryptoStatus;
  /** How many of each it knows. */
  readonly workloads: number;
  readonly services: number;
  readonly policies: number;
  readonly certificates: number;
  /** When the first certificate ends, as RFC 3339; empty when there is none. */
  readonly firstCertificateEnds: string;
  /** What the mesh does not carry, in a sentence each. */
  readonly notes: readonly string[];
}

/** What programs in the kernel do for this node. */
export interface CaptureStatus {
  /** Pods that they capture; all others are captured by nftables. */
  readonly kernelPods: number;
  /** How often they ended in which way, by name; empty where there are none. */
  readonly counters: Readonly<Record<string, number>>;
  /** Gates that keep the sockmap tier from a pod which asked for it; empty when none did. */
  readonly sockmapRefused: readonly string[];
}

/** What was computed for handshakes, and how. */
export interface CryptoStatus {
  readonly mode: 'off' | 'scalar' | 'avx512' | 'portable';
  /** By operation; none is counted where the mode is off. */
  readonly operations: Readonly<Record<string, OperationStatus>>;
  /** Steps of handshakes that computed by themselves, since too many waited. */
  readonly inlined: number;
  /** Key shares made before a handshake asked, which count in no operation. */
  readonly keyShares: number;
}

/** One public-key operation of handshakes. */
export interface OperationStatus {
  /** How often eight-lane kernels were called, by how many lanes were filled: from 1 to 8. */
  readonly lanes: readonly number[];
  /** Operations done one after the other. */
  readonly scalar: number;
  /** In those calls. */
  readonly laneSeconds: number;
  /** In operations done one after the other. */
  readonly scalarSeconds: number;
}

/** A pod that was handed over to the proxy. */
export interface PodStatus {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Empty while it is not carried. */
  readonly identity: string;
  readonly carried: boolean;
}

/** One open connection. */
export interface ConnectionStatus {
  readonly direction: 'inbound' | 'outbound';
  readonly pod: string;
  readonly source: string;
  readonly destination: string;
  /** The far end of its tunnel; empty in plaintext. */
  readonly tunnel: string;
  readonly sourceIdentity: string;
  readonly destinationIdentity: string;
  readonly sourceWorkload: string;
  readonly destinationWorkload: string;
  readonly service: string;
  readonly mutualTls: boolean;
  /** False while it is being opened. */
  readonly open: boolean;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly ageMs: number;
}

/** One HBONE tunnel. */
export interface TunnelStatus {
  readonly direction: 'inbound' | 'outbound';
  readonly pod: string;
  readonly peer: string;
  readonly ownIdentity: string;
  readonly peerIdentity: string;
  readonly streams: number;
  readonly ageMs: number;
  readonly unsentBytes: number;
  readonly up: boolean;
  /** It takes no new streams. */
  readonly retiring: boolean;
}

/** The answer of GET /connections. */
export interface ConnectionsAnswer {
  readonly node: string;
  readonly connections: readonly ConnectionStatus[];
  readonly tunnels: readonly TunnelStatus[];
  /** How many more there are than are shown. */
  readonly omitted: number;
}

/** The answer of policy at the destination. */
export interface VerdictAnswer {
  readonly allowed: boolean;
  /** "namespace/name" of the policy that decides; empty when none does. */
  readonly policy: string;
  /** The place of the rule that matches, from 0; -1 when none does. */
  readonly rule: number;
  readonly reason: string;
}

/** One place where an explained connection may end. */
export interface EndpointAnswer {
  readonly path: 'tunnel' | 'direct' | 'passthrough' | 'refused';
  readonly why: string;
  readonly target?: string;
  /** Uid; absent when the destination is not in the mesh. */
  readonly workload?: string;
  /** Where that workload runs. */
  readonly node?: string;
  readonly tunnel?: string;
  readonly expectedIdentities: readonly string[];
  readonly verdict?: VerdictAnswer;
}

/** One certificate, as ztunnel's configuration dump shows it. */
export interface ShownCertificate {
  readonly pem: string;
  /** Decimal. */
  readonly serialNumber: string;
  readonly validFrom: string;
  readonly expirationTime: string;
}

/** The certificates of one identity, as ztunnel's configuration dump shows them. */
export interface ShownIdentity {
  readonly identity: string;
  readonly state: 'Available' | 'Expired';
  readonly certChain: readonly ShownCertificate[];
  readonly rootCerts: readonly ShownCertificate[];
}

/** The answer of GET /certificates. */
export interface CertificatesAnswer {
  readonly node: string;
  readonly certificates: readonly ShownIdentity[];
}

/** The answer of GET /explain. */
export interface ExplainAnswer {
  /** The node whose proxy answers: where the source is, or the one that was asked. */
  readonly node: string;
  readonly source: { readonly workload: string; readonly node: string };
  readonly destination: { readonly address: string; readonly port: number };
  readonly path: 'tunnel' | 'direct' | 'passthrough' | 'refused';
  readonly why: string;
  /** False for a source that is not in the mesh: no proxy sees its connections. */
  readonly captured: boolean;
  readonly sourceIdentity: string;
  readonly service: string;
  readonly endpoints: readonly EndpointAnswer[];
  readonly endpointsTotal: number;
  /** What else there is to know, in a sentence each. */
  readonly notes: readonly string[];
}

/** Said wherever somebody may wonder: what the mesh leaves alone. */
export const uncarried: readonly string[] = [
  'UDP is not carried: only DNS (port 53) is answered by the proxy, the rest goes as it is',
  'pods with hostNetwork are never in the mesh: what they send is plaintext and has no identity',
];
