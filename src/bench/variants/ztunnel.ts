// SPDX-License-Identifier: Apache-2.0
import { MeshError } from '../../lib/error.ts';
import { ports } from '../../lib/ports.ts';
import { runProgram } from '../../lib/program.ts';
import { versionOf } from '../ztunnel/config.ts';
import { instanceCgroup, startInstances } from '../ztunnel/instances.ts';
import type { Variant } from './variant.ts';

const name = 'ztunnel';
const variable = 'ZTUNNEL_BIN';

let binary = '';
let version: string | undefined;

async function prepare(): Promise<string | undefined> {
  binary = process.env[variable] ?? '';
  if (binary === '') {
    return `${variable} names no binary of Istio's ztunnel`;
  }
  try {
    const { code, stdout, stderr } = await runProgram(binary, ['version']);
    version = versionOf(stdout);
    return code === 0 ? undefined : `${binary} version: ${stderr.trim()}`;
  } catch (error) {
    return MeshError.from(error).message;
  }
}

/** Istio's ztunnel, where there is a binary of it: in-pod mode, an instance a node. */
export const ztunnel: Variant = {
  name,
  get title() {
    const which = version === undefined ? '' : ` ${version}`;
    return `Istio's ztunnel${which}, a proxy a node, captured by Weft's nftables rules, HBONE in mutual TLS 1.3, one worker each, no access log`;
  },
  meshed: false,
  carries: 'tcp',
  tlsPort: ports.hbone,
  prepare,
  start: (lab) => startInstances(lab, { name }, binary),
  proxyOf: (lab, end) => instanceCgroup(lab, { name }, end),
};
