// SPDX-License-Identifier: Apache-2.0
// Translates Istio's AuthorizationPolicy to an L4 policy. What cannot be enforced at L4 makes the
// policy stricter or is refused; it never makes it weaker.
import { MeshError, type Result } from '../lib/error.ts';
import { parseCidr } from '../lib/ip.ts';
import type { Labels, Policy, PolicyMatch, PolicyRule, StringMatch } from './objects.ts';

/** A list of values as a manifest carries it. */
type Values = readonly string[] | undefined;

/** `from.source` of a rule. */
export interface PolicySource {
  readonly principals?: Values;
  readonly notPrincipals?: Values;
  readonly namespaces?: Values;
  readonly notNamespaces?: Values;
  readonly serviceAccounts?: Values;
  readonly notServiceAccounts?: Values;
  readonly ipBlocks?: Values;
  readonly notIpBlocks?: Values;
  readonly requestPrincipals?: Values;
  readonly notRequestPrincipals?: Values;
  readonly remoteIpBlocks?: Values;
  readonly notRemoteIpBlocks?: Values;
}

/** `to.operation` of a rule. */
export interface PolicyOperation {
  readonly ports?: Values;
  readonly notPorts?: Values;
  readonly hosts?: Values;
  readonly notHosts?: Values;
  readonly methods?: Values;
  readonly notMethods?: Values;
  readonly paths?: Values;
  readonly notPaths?: Values;
}

/** One entry of `when`. */
export interface PolicyCondition {
  readonly key: string;
  readonly values?: Values;
  readonly notValues?: Values;
}

/** One entry of `rules`. */
export interface PolicySpecRule {
  readonly from?: readonly { readonly source: PolicySource }[] | undefined;
  readonly to?: readonly { readonly operation: PolicyOperation }[] | undefined;
  readonly when?: readonly PolicyCondition[] | undefined;
}

/** An AuthorizationPolicy whose shape was checked, and whose values were not. */
export interface PolicyManifest {
  readonly namespace: string;
  readonly name: string;
  readonly selector: Labels | undefined;
  readonly action: 'ALLOW' | 'DENY';
  readonly rules: readonly PolicySpecRule[];
  readonly dryRun: boolean;
}

/** A complaint about one field; the path leads to it from the manifest's root. */
export interface FieldProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** What came of a translation: with any problem there is no policy. */
export type PolicyTranslation =
  | { readonly ok: true; readonly policy: Policy }
  | { readonly ok: false; readonly problems: readonly FieldProblem[] };

type Path = readonly (string | number)[];

// A match of one `from`, `to` or `when` entry: its L4 part, and whether it also had an L7 part.
interface Part {
  readonly match: PolicyMatch;
  readonly l7: boolean;
}

const serviceAccountPattern = /^(?:([a-z0-9.-]+)\/)?([a-z0-9.-]+)$/;
const l7Keys = /^(request\.|remote\.ip$|connection\.sni$|experimental\.)/;

function fail<T>(message: string): Result<T> {
  return { ok: false, error: new MeshError('invalid', message) };
}

function parseString(text: string): Result<StringMatch> {
  if (text === '*') {
    return { ok: true, value: { kind: 'presence' } };
  }
  const head = text.startsWith('*');
  const value = head ? text.slice(1) : text.replace(/\*$/, '');
  if (value === '' || value.includes('*')) {
    return fail('a * may stand alone, first or last, once');
  }
  const kind = head ? 'suffix' : value === text ? 'exact' : 'prefix';
  return { ok: true, value: { kind, value } };
}

function parsePrincipal(text: string): Result<StringMatch> {
  return text.startsWith('spiffe://')
    ? fail('a principal is written without spiffe://, as cluster.local/ns/NAMESPACE/sa/ACCOUNT')
    : parseString(text);
}

function parseBlock(text: string): Result<{ address: Uint8Array; length: number }> {
  const value = parseCidr(text);
  return value === undefined ? fail('not an IP address or block') : { ok: true, value };
}

function parsePort(text: string): Result<number> {
  const port = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? { ok: true, value: port } : fail('not a port in 1..65535');
}

function isEmpty(match: PolicyMatch): boolean {
  return Object.keys(match).length === 0;
}

// Collects problems while the manifest is walked, so that all of them are reported at once.
class Translator {
  readonly problems: FieldProblem[] = [];
  readonly #manifest: PolicyManifest;

  constructor(manifest: PolicyManifest) {
    this.#manifest = manifest;
  }

  #list<T, K extends string>(
    key: K,
    values: Values,
    path: Path,
    parse: (text: string) => Result<T>,
  ): { readonly [k in K]?: T[] } {
    if (values === undefined) {
      return {};
    }
    const parsed = values.flatMap((text, index) => {
      const result = parse(text);
      if (result.ok) {
        return [result.value];
      }
      this.problems.push({ path: [...path, index], message: result.error.message });
      return [];
    });
    return { [key]: parsed } as { [k in K]?: T[] };
  }

  #parseServiceAccount(text: string): Result<{ namespace: string; serviceAccount: string }> {
    const [, namespace = this.#manifest.namespace, serviceAccount] =
      serviceAccountPattern.exec(text) ?? [];
    return serviceAccount === undefined
      ? fail('not ACCOUNT or NAMESPACE/ACCOUNT')
      : { ok: true, value: { namespace, serviceAccount } };
  }

  #source(source: PolicySource, path: Path): Part {
    const account = (text: string) => this.#parseServiceAccount(text);
    const at = (field: keyof PolicySource): Path => [...path, field];
    const match = {
      ...this.#list('principals', source.principals, at('principals'), parsePrincipal),
      ...this.#list('notPrincipals', source.notPrincipals, at('notPrincipals'), parsePrincipal),
      ...this.#list('namespaces', source.namespaces, at('namespaces'), parseString),
      ...this.#list('notNamespaces', source.notNamespaces, at('notNamespaces'), parseString),
      ...this.#list('serviceAccounts', source.serviceAccounts, at('serviceAccounts'), account),
      ...this.#list(
        'notServiceAccounts',
        source.notServiceAccounts,
        at('notServiceAccounts'),
        account,
      ),
      ...this.#list('sourceIps', source.ipBlocks, at('ipBlocks'), parseBlock),
      ...this.#list('notSourceIps', source.notIpBlocks, at('notIpBlocks'), parseBlock),
    };
    const l7 =
      (source.requestPrincipals ??
        source.notRequestPrincipals ??
        source.remoteIpBlocks ??
        source.notRemoteIpBlocks) !== undefined;
    return { match, l7 };
  }

  #operation(operation: PolicyOperation, path: Path): Part {
    const { ports, notPorts, ...l7 } = operation;
    const match = {
      ...this.#list('destinationPorts', ports, [...path, 'ports'], parsePort),
      ...this.#list('notDestinationPorts', notPorts, [...path, 'notPorts'], parsePort),
    };
    return { match, l7: Object.values(l7).some((values) => values !== undefined) };
  }

  #condition({ key, values, notValues }: PolicyCondition, path: Path): Part {
    const pair = <T, K extends string, N extends string>(
      plain: K,
      not: N,
      parse: (text: string) => Result<T>,
    ) => ({
      ...this.#list(plain, values, [...path, 'values'], parse),
      ...this.#list(not, notValues, [...path, 'notValues'], parse),
    });
    switch (key) {
      case 'source.ip':
        return { match: pair('sourceIps', 'notSourceIps', parseBlock), l7: false };
      case 'source.namespace':
        return { match: pair('namespaces', 'notNamespaces', parseString), l7: false };
      case 'source.principal':
        return { match: pair('principals', 'notPrincipals', parsePrincipal), l7: false };
      case 'source.serviceAccount': {
        const account = (text: string) => this.#parseServiceAccount(text);
        return { match: pair('serviceAccounts', 'notServiceAccounts', account), l7: false };
      }
      case 'destination.ip':
        return { match: pair('destinationIps', 'notDestinationIps', parseBlock), l7: false };
      case 'destination.port':
        return { match: pair('destinationPorts', 'notDestinationPorts', parsePort), l7: false };
      default:
        if (!l7Keys.test(key)) {
          this.problems.push({ path: [...path, 'key'], message: `${key} is not a known key` });
        }
        return { match: {}, l7: true };
    }
  }

  #clauses(rule: PolicySpecRule, path: Path): Part[][] {
    const from = rule.from?.map(({ source }, index) =>
      this.#source(source, [...path, 'from', index, 'source']),
    );
    const to = rule.to?.map(({ operation }, index) =>
      this.#operation(operation, [...path, 'to', index, 'operation']),
    );
    const when = rule.when?.map((condition, index) => [
      this.#condition(condition, [...path, 'when', index]),
    ]);
    return [from, to, ...(when ?? [])].filter((clause) => clause !== undefined);
  }

  // ALLOW: a rule that asks for L7 cannot be proved to hold, so it never does. DENY: the L7 part is
  // taken to hold, so that more is denied; a clause that loses all its fields always holds.
  rule(rule: PolicySpecRule, path: Path): PolicyRule | undefined {
    const clauses = this.#clauses(rule, path);
    if (!clauses.flat().some((part) => part.l7)) {
      return clauses.map((clause) => clause.map((part) => part.match));
    }
    if (this.#manifest.action === 'ALLOW') {
      return undefined;
    }
    const kept = clauses
      .map((clause) => clause.map((part) => part.match))
      .filter((clause) => !clause.some(isEmpty));
    if (kept.length === 0) {
      const message =
        'a DENY rule with HTTP conditions alone cannot be enforced without a waypoint';
      this.problems.push({ path, message });
    }
    return kept;
  }
}

/**
 * Translates a manifest. An ALLOW rule with any HTTP condition is left out whole; a DENY rule
 * keeps its TCP conditions and is refused when it has none. All problems are reported, and with any there is no policy.
 */
export function translatePolicy(manifest: PolicyManifest): PolicyTranslation {
  const translator = new Translator(manifest);
  const rules = manifest.rules.flatMap((rule, index) => {
    const translated = translator.rule(rule, ['spec', 'rules', index]);
    return translated === undefined ? [] : [translated];
  });
  if (translator.problems.length > 0) {
    return { ok: false, problems: translator.problems };
  }
  const { namespace, name, selector, dryRun } = manifest;
  const action = manifest.action === 'ALLOW' ? 'allow' : 'deny';
  return { ok: true, policy: { namespace, name, selector, action, rules, dryRun } };
}
