// SPDX-License-Identifier: Apache-2.0
// From the wire's Authorization to the engine's Policy. Whatever cannot be held to the letter is
// refused, by name: a match that is dropped would widen an ALLOW or weaken a DENY.
import type { Message, MessageInitShape } from '@bufbuild/protobuf';
import type {
  CidrSchema,
  PolicyClauseSchema,
  PolicyMatchSchema,
  PolicySchema,
  StringMatchSchema,
} from '../native/gen/tables_pb.js';
import { PolicyAction, PolicyScope } from '../native/gen/tables_pb.js';
import { MeshError, type Result } from '../src/lib/error.ts';
import {
  type Authorization,
  AuthorizationAction,
  AuthorizationScope,
  type CidrAddress,
  type Clause,
  type Match,
  type StringMatch as WireString,
} from '../src/xds/wire.ts';
import { check, checkAddress, checkName, checkPort } from './field-checks.ts';

/** A policy in the engine's shape. */
export type TablePolicy = MessageInitShape<typeof PolicySchema>;

const scopes: ReadonlyMap<number, PolicyScope> = new Map([
  [AuthorizationScope.GLOBAL, PolicyScope.SCOPE_GLOBAL],
  [AuthorizationScope.NAMESPACE, PolicyScope.SCOPE_NAMESPACE],
  [AuthorizationScope.WORKLOAD_SELECTOR, PolicyScope.SCOPE_WORKLOAD],
]);

const actions: ReadonlyMap<number, PolicyAction> = new Map([
  [AuthorizationAction.ALLOW, PolicyAction.ACTION_ALLOW],
  [AuthorizationAction.DENY, PolicyAction.ACTION_DENY],
]);

// A field of a newer schema may narrow what the rest of the message says.
function checkKnown(message: Message, what: string): void {
  check((message.$unknown ?? []).length === 0, `${what} has a field this version does not know`);
}

function stringOf(wire: WireString): MessageInitShape<typeof StringMatchSchema> {
  checkKnown(wire, 'a string match');
  const { matchType } = wire;
  switch (matchType.case) {
    case 'exact':
      return { match: { case: 'exact', value: matchType.value } };
    case 'prefix':
      return { match: { case: 'prefix', value: matchType.value } };
    case 'suffix':
      return { match: { case: 'suffix', value: matchType.value } };
    case 'presence':
      return { match: { case: 'presence', value: true } };
    default:
      throw new MeshError('invalid', 'a string match is of no kind this version knows');
  }
}

function cidrOf(wire: CidrAddress): MessageInitShape<typeof CidrSchema> {
  checkKnown(wire, 'an address range');
  checkAddress(wire.address);
  check(wire.length <= wire.address.length * 8, `prefix length ${wire.length} is too long`);
  return { address: wire.address, length: wire.length };
}

function matchOf(wire: Match): MessageInitShape<typeof PolicyMatchSchema> {
  checkKnown(wire, 'a match');
  for (const port of [...wire.destinationPorts, ...wire.notDestinationPorts]) {
    checkPort(port);
  }
  for (const account of [...wire.serviceAccounts, ...wire.notServiceAccounts]) {
    checkKnown(account, 'a service account match');
  }
  return {
    namespaces: wire.namespaces.map(stringOf),
    notNamespaces: wire.notNamespaces.map(stringOf),
    principals: wire.principals.map(stringOf),
    notPrincipals: wire.notPrincipals.map(stringOf),
    sourceIps: wire.sourceIps.map(cidrOf),
    notSourceIps: wire.notSourceIps.map(cidrOf),
    destinationIps: wire.destinationIps.map(cidrOf),
    notDestinationIps: wire.notDestinationIps.map(cidrOf),
    destinationPorts: wire.destinationPorts,
    notDestinationPorts: wire.notDestinationPorts,
    serviceAccounts: wire.serviceAccounts.map((account) => ({
      namespace: account.namespace,
      name: account.serviceAccount,
    })),
    notServiceAccounts: wire.notServiceAccounts.map((account) => ({
      namespace: account.namespace,
      name: account.serviceAccount,
    })),
  };
}

function clauseOf(wire: Clause): MessageInitShape<typeof PolicyClauseSchema> {
  checkKnown(wire, 'a clause');
  return { matches: wire.matches.map(matchOf) };
}

function known<T>(table: ReadonlyMap<number, T>, value: number, what: string): T {
  const found = table.get(value);
  if (found === undefined) {
    throw new MeshError('invalid', `${what} ${value} is not known to this version`);
  }
  return found;
}

function policyOf(wire: Authorization): TablePolicy {
  checkName(wire.name, 'policy name');
  const scope = known(scopes, wire.scope, 'scope');
  // Only a global policy may stand in no namespace; elsewhere it would apply to nobody.
  check(scope === PolicyScope.SCOPE_GLOBAL || wire.namespace !== '', 'namespace is missing');
  return {
    key: `${wire.namespace}/${wire.name}`,
    namespace: wire.namespace,
    scope,
    action: known(actions, wire.action, 'action'),
    rules: wire.rules.map((rule) => {
      checkKnown(rule, 'a rule');
      return { clauses: rule.clauses.map(clauseOf) };
    }),
    dryRun: wire.dryRun,
  };
}

/** Parses one Authorization of the control plane; the error says what in it cannot be held. */
export function parseTablePolicy(wire: Authorization): Result<TablePolicy> {
  try {
    return { ok: true, value: policyOf(wire) };
  } catch (error) {
    return { ok: false, error: MeshError.from(error) };
  }
}

/**
 * What takes the place of a policy that is refused while no version of it is in force, so that the
 * lost policy cannot let through what it was made to stop (fail-closed): for an ALLOW, one that
 * allows nobody; else a DENY of everybody, in the same scope. Undefined where none is needed: a
 * dry run decides nothing, and a workload that names an unknown policy is closed by itself.
 *
 * @param name the resource name, "namespace/name".
 * @param wire undefined when it could not even be decoded.
 */
export function standInOf(name: string, wire: Authorization | undefined): TablePolicy | undefined {
  if (wire?.dryRun === true || wire?.scope === AuthorizationScope.WORKLOAD_SELECTOR) {
    return undefined;
  }
  const namespace = name.slice(0, Math.max(0, name.indexOf('/')));
  const isGlobal = namespace === '' || wire?.scope === AuthorizationScope.GLOBAL;
  const isAllow = wire?.action === AuthorizationAction.ALLOW;
  return {
    key: name,
    namespace,
    scope: isGlobal ? PolicyScope.SCOPE_GLOBAL : PolicyScope.SCOPE_NAMESPACE,
    action: isAllow ? PolicyAction.ACTION_ALLOW : PolicyAction.ACTION_DENY,
    // No rule never matches; a rule without clauses always does.
    rules: isAllow ? [] : [{ clauses: [] }],
  };
}
