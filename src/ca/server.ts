// SPDX-License-Identifier: Apache-2.0
// The certificate service: decides who may have which identity. Every doubt is a refusal, whose
// reason stands in the log and never in the answer.
import {
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { MeshError } from '../lib/error.ts';
import type { Logger } from '../lib/log.ts';
import {
  formatSpiffeId,
  nodeOf,
  nodeSpiffeId,
  parseSpiffeId,
  type SpiffeId,
  workloadOf,
} from '../spiffe/id.ts';
import type { Authority } from './authority.ts';
import { type ProvenRequest, parseCsr } from './csr.ts';
import type { JoinClaims, JoinTokens } from './join-tokens.ts';
import type { LeafLedger } from './leaf-ledger.ts';
import {
  authorizationKey,
  certificateResponse,
  createCertificateMethod,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  impersonatedIdentityKey,
  impersonatedIdentityOf,
} from './wire.ts';

/** A call of the one method. */
export type CertificateCall = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>;

/** Who calls, by a certificate that was verified. */
export interface ProvenCaller {
  readonly spiffeId: SpiffeId;
  /** The certificate's serial number in hexadecimal: small letters, no leading zeros. */
  readonly serial: string;
}

/** What the service needs from its surroundings. */
export interface CertificateServerOptions {
  readonly log: Logger;
  readonly authority: Authority;
  readonly tokens: JoinTokens;
  readonly ledger: LeafLedger;
  /** Who calls; undefined when it showed no certificate, or none that is an SVID. */
  readonly callerOf: (call: CertificateCall) => ProvenCaller | undefined;
  /** Whether the registry places a workload of this service account on this node. */
  readonly places: (node: string, namespace: string, serviceAccount: string) => boolean;
  /** Whether the deny list names this identity, or the certificate with this serial number. */
  readonly denies: (spiffeId: string, serial?: string) => boolean;
  readonly now: () => Date;
}

/** Most certificates that are being issued at one time. */
export const issuesMax = 256;

/**
 * Longest reason that goes to the log, in characters: room for two SPIFFE IDs, and not for what a
 * caller may send in place of one.
 */
export const reasonCharactersMax = 5_000;

/** The definition to register the service with. */
export const certificateService: ServiceDefinition = { CreateCertificate: createCertificateMethod };

// What the caller is told. Nothing in it depends on why.
const answers = {
  invalid: { code: status.INVALID_ARGUMENT, details: 'the certificate request was not accepted' },
  unauthenticated: { code: status.UNAUTHENTICATED, details: 'the caller was not accepted' },
  denied: { code: status.PERMISSION_DENIED, details: 'the identity was not granted' },
  busy: { code: status.RESOURCE_EXHAUSTED, details: 'too many requests' },
  internal: { code: status.INTERNAL, details: 'internal error' },
} as const;

class Refusal extends Error {
  readonly answer: keyof typeof answers;

  constructor(answer: keyof typeof answers, reason: string) {
    super(reason);
    this.answer = answer;
  }
}

// A caller: a node with a certificate, or with a token that is still to be used up.
interface Caller {
  readonly node: string;
  readonly serial: string | undefined;
  readonly token: JoinClaims | undefined;
}

/** The certificate service. */
export class CertificateServer {
  readonly #options: CertificateServerOptions;
  #issuing = 0;

  constructor(options: CertificateServerOptions) {
    this.#options = options;
  }

  /** The handlers for `Server.addService`. */
  readonly handlers: {
    CreateCertificate: (
      call: CertificateCall,
      callback: sendUnaryData<IstioCertificateResponse>,
    ) => void;
  } = {
    CreateCertificate: (call, callback) => void this.#answer(call, callback),
  };

  async #answer(
    call: CertificateCall,
    callback: sendUnaryData<IstioCertificateResponse>,
  ): Promise<void> {
    this.#issuing += 1;
    try {
      if (this.#issuing > issuesMax) {
        throw new Refusal('busy', `more than ${issuesMax} requests at one time`);
      }
      callback(null, certificateResponse(await this.#create(call)));
    } catch (thrown) {
      const answer = thrown instanceof Refusal ? thrown.answer : 'internal';
      const reason = MeshError.from(thrown).message.slice(0, reasonCharactersMax);
      const level = answer === 'internal' ? 'error' : 'warn';
      this.#options.log[level]({ peer: call.getPeer(), answer, reason }, 'certificate refused');
      callback(answers[answer]);
    } finally {
      this.#issuing -= 1;
    }
  }

  async #create(call: CertificateCall): Promise<readonly string[]> {
    const { authority, log, now } = this.#options;
    // Who calls is settled before anything it sent is looked into.
    const caller = await this.#callerOf(call);
    const request = await parseCsr(call.request.csr);
    if (!request.ok) {
      throw new Refusal('invalid', `node ${caller.node}: ${request.error.message}`);
    }
    this.#authorize(caller, call.request, request.value);
    if (caller.token !== undefined) {
      await this.#spend(caller.token);
    }
    const { publicKey, spiffeId } = request.value;
    // What does not fit a number is over the CA's maximum anyway.
    const validitySeconds = Number(call.request.validityDuration);
    const leaf = await authority.issue({ publicKey, spiffeId, validitySeconds }, now());
    const { serial, notAfter, generation } = leaf;
    const spiffe = formatSpiffeId(spiffeId);
    const holder = { node: caller.node, spiffeId: spiffe, generation, serial, notAfter };
    await this.#options.ledger.record(holder, now());
    // What was denied meanwhile is not handed out.
    this.#refuseDenied(caller, spiffe);
    log.info({ node: caller.node, spiffeId: spiffe, serial, notAfter }, 'certificate issued');
    return leaf.chainPem;
  }

  async #callerOf(call: CertificateCall): Promise<Caller> {
    const { authority, callerOf, now, tokens } = this.#options;
    const proven = callerOf(call);
    if (proven !== undefined) {
      const { spiffeId: id, serial } = proven;
      const node = id.trustDomain === authority.trustDomain ? nodeOf(id) : undefined;
      if (node === undefined) {
        throw new Refusal('denied', `caller ${formatSpiffeId(id)} is not a node`);
      }
      return this.#undenied({ node, serial, token: undefined });
    }
    const [header] = call.metadata.get(authorizationKey);
    const [, token] = /^Bearer ([^ ]+)$/.exec(String(header ?? '')) ?? [];
    if (token === undefined) {
      throw new Refusal('unauthenticated', 'neither a certificate nor a join token');
    }
    const claims = await tokens.verify(token, now());
    if (!claims.ok) {
      throw new Refusal('unauthenticated', claims.error.message);
    }
    return this.#undenied({ node: claims.value.node, serial: undefined, token: claims.value });
  }

  // A node that is denied gets nothing, whichever identity it asks for.
  #undenied(caller: Caller): Caller {
    const { authority, denies } = this.#options;
    const { node, serial } = caller;
    if (denies(formatSpiffeId(nodeSpiffeId(authority.trustDomain, node)), serial)) {
      const shown = serial === undefined ? 'a join token' : `certificate ${serial}`;
      throw new Refusal('denied', `caller node ${node}, by ${shown}, is on the deny list`);
    }
    return caller;
  }

  #refuseDenied(caller: Caller, asked: string): void {
    this.#undenied(caller);
    if (this.#options.denies(asked)) {
      throw new Refusal('denied', `node ${caller.node}: ${asked} is on the deny list`);
    }
  }

  #authorize(caller: Caller, message: IstioCertificateRequest, request: ProvenRequest): void {
    const asked = formatSpiffeId(request.spiffeId);
    this.#refuseDenied(caller, asked);
    if (message.metadata?.[impersonatedIdentityKey] !== undefined) {
      this.#authorizeWorkload(caller, impersonatedIdentityOf(message), asked);
      return;
    }
    const own = formatSpiffeId(nodeSpiffeId(this.#options.authority.trustDomain, caller.node));
    if (asked !== own) {
      throw new Refusal('denied', `node ${caller.node} asked for ${asked} as its own identity`);
    }
  }

  #authorizeWorkload({ node, token }: Caller, identity: string | undefined, asked: string): void {
    const id = parseSpiffeId(identity ?? '');
    const workload = id.ok ? workloadOf(id.value) : undefined;
    if (!id.ok || workload === undefined) {
      throw new Refusal('denied', `node ${node}: ${identity ?? 'that'} is no workload's identity`);
    }
    if (token !== undefined) {
      throw new Refusal('denied', `node ${node} asked for ${asked} with a join token`);
    }
    if (formatSpiffeId(id.value) !== asked) {
      throw new Refusal('denied', `node ${node} asked for ${asked} in the name of ${identity}`);
    }
    const { namespace, serviceAccount } = workload;
    const known = id.value.trustDomain === this.#options.authority.trustDomain;
    if (!known || !this.#options.places(node, namespace, serviceAccount)) {
      throw new Refusal('denied', `no workload of ${asked} is placed on node ${node}`);
    }
  }

  async #spend(token: JoinClaims): Promise<void> {
    if (!(await this.#options.tokens.redeem(token, this.#options.now()))) {
      const reason = `join token ${token.id} of node ${token.node} was used before or expired meanwhile`;
      throw new Refusal('unauthenticated', reason);
    }
  }
}
