// SPDX-License-Identifier: Apache-2.0
// The control plane's settings, from its flags.
import { isIP } from 'node:net';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { GivenFiles } from '../ca/given-authority.ts';
import { type LogLevel, logLevels } from '../lib/log.ts';
import { ports } from '../lib/ports.ts';
import { isTrustDomain } from '../spiffe/id.ts';

/** Where to listen. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** The settings of one control plane. */
export interface ControlConfig {
  /** The folder of manifests. */
  readonly config: string;
  /** The folder that keeps the CA. */
  readonly state: string;
  readonly listen: readonly ListenAddress[];
  readonly trustDomain: string;
  /** A certificate authority of the user's, in place of our own. */
  readonly ca: GivenFiles | undefined;
  /** Names and addresses for the server's certificate, besides those of this machine. */
  readonly san: readonly string[];
  readonly logLevel: LogLevel;
}

/** Most addresses to listen on, and most further names. */
export const listMax = 64;

function parseListen(text: string, before: readonly ListenAddress[] = []): ListenAddress[] {
  const [, v6, other, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = v6 ?? other;
  const port = Number(digits);
  if (host === undefined || port > 65535 || (v6 !== undefined && isIP(v6) !== 6)) {
    throw new InvalidArgumentError('not ADDR:PORT');
  }
  return appended(before, { host, port });
}

function parseSan(text: string, before: readonly string[] = []): string[] {
  if (isIP(text) === 0 && !/^[a-zA-Z0-9*]([a-zA-Z0-9._-]{0,252})$/.test(text)) {
    throw new InvalidArgumentError('neither a DNS name nor an IP address');
  }
  return appended(before, text);
}

function appended<T>(before: readonly T[], item: T): T[] {
  if (before.length >= listMax) {
    throw new InvalidArgumentError(`given more than ${listMax} times`);
  }
  return [...before, item];
}

function parseTrustDomain(text: string): string {
  if (!isTrustDomain(text)) {
    throw new InvalidArgumentError('not a trust domain: lower-case letters, digits, . - _ only');
  }
  return text;
}

interface CaFlags {
  readonly caCert?: string;
  readonly caKey?: string;
  readonly caRoot?: string;
}

function givenFiles(command: Command, { caCert, caKey, caRoot }: CaFlags): GivenFiles | undefined {
  if (caCert !== undefined && caKey !== undefined) {
    return { cert: caCert, key: caKey, root: caRoot };
  }
  if (caCert !== undefined || caKey !== undefined || caRoot !== undefined) {
    return command.error('error: --ca-cert and --ca-key are given together, or neither');
  }
  return undefined;
}

/** Reads the flags. Prints help or the mistake, and throws CommanderError, as commander does. */
export function parseControlConfig(argv: readonly string[]): ControlConfig {
  const command = new Command('weft control')
    .description('run the control plane: registry, xDS and CA on one TLS port')
    .requiredOption('--config <folder>', 'the YAML manifests of the mesh; watched')
    .requiredOption('--state <folder>', 'keeps the CA; one control plane at a time')
    .option('--listen <addr:port>', `may be repeated (default: [::]:${ports.control})`, parseListen)
    .option('--trust-domain <name>', 'of the SPIFFE IDs', parseTrustDomain, 'cluster.local')
    .option('--ca-cert <file>', 'sign with this CA, root or intermediate, and its chain (PEM)')
    .option('--ca-key <file>', 'the private key of --ca-cert (PEM)')
    .option('--ca-root <file>', 'the root of --ca-cert, when that file does not hold it (PEM)')
    .option('--san <name>', 'a further name of this server; may be repeated', parseSan)
    .addOption(
      new Option('--log-level <level>', 'least level logged').choices(logLevels).default('info'),
    )
    .exitOverride()
    .parse([...argv], { from: 'user' });
  const options = command.opts<Partial<ControlConfig> & CaFlags>();
  return {
    config: options.config ?? '',
    state: options.state ?? '',
    listen: options.listen ?? [{ host: '::', port: ports.control }],
    trustDomain: options.trustDomain ?? 'cluster.local',
    ca: givenFiles(command, options),
    san: options.san ?? [],
    logLevel: options.logLevel ?? 'info',
  };
}
