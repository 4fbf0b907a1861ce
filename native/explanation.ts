// SPDX-License-Identifier: Apache-2.0
// What becomes of a connection, in the words of the engine.

/** A connection to explain. */
export interface ExplainQuery {
  /** Uid of the workload that connects. */
  readonly source: string;
  /** IP address it connects to: of a service, a workload, or anything else. */
  readonly destination: string;
  readonly port: number;
}

/**
 * How a connection travels: in a tunnel, past the proxy to a pod of the same node, in plaintext as the
 * application sent it, or not at all.
 */
export type ExplainedPath = 'tunnel' | 'direct' | 'passthrough' | 'refused';

/** The answer of policy at the destination. */
export interface ExplainedVerdict {
  readonly allowed: boolean;
  /** Key of the policy that decides, "namespace/name"; empty when none does. */
  readonly policy: string;
  /** The place of the policy's rule that matches, from 0; -1 when none does. */
  readonly rule: number;
  readonly reason: string;
}

/** One place where the connection may end. */
export interface ExplainedEndpoint {
  readonly path: ExplainedPath;
  readonly why: string;
  /** The application, as address:port; absent when refused. */
  readonly target?: string;
  /** Uid; absent when the destination is not in the mesh. */
  readonly workload?: string;
  /** Where the tunnel goes, as address:port. */
  readonly tunnel?: string;
  /** SPIFFE IDs one of which the far end of the tunnel has to prove. */
  readonly expectedIdentities: readonly string[];
  /** Absent where no proxy stands at the destination that would ask policy. */
  readonly verdict?: ExplainedVerdict;
}

/** What would become of a connection, and why. */
export interface Explanation {
  /** Of the first endpoint. */
  readonly path: ExplainedPath;
  readonly why: string;
  /** False for a source that is not in the mesh: the proxy never sees its connections. */
  readonly captured: boolean;
  /** The SPIFFE ID that tunnels prove of the source; empty when no endpoint is reached by one. */
  readonly sourceIdentity: string;
  /** Key of the service, when it is addressed by an address of its own. */
  readonly service?: string;
  /** Those of which one is chosen by load: the nearest that are healthy, at most 100. */
  readonly endpoints: readonly ExplainedEndpoint[];
  readonly endpointsTotal: number;
}
