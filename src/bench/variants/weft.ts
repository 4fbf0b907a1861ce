// SPDX-License-Identifier: Apache-2.0
// The mesh itself, by the ways in which its pods can be captured and connected.
import type { Lab } from '../../lab/lab.ts';
import { captureAnnotation, sameNodeAnnotation } from '../../lab/mesh-files.ts';
import { ports } from '../../lib/ports.ts';
import { cgroupIn, nodeOf, type StartOptions, type Variant } from './variant.ts';

// As every sidecar has: one worker, where the default is half of the machine's processors, and no
// access log.
const asSidecars = ['--workers', '1', '--access-log', 'off'];

async function start(lab: Lab, { engine }: StartOptions): Promise<void> {
  const settings = [...asSidecars, ...engine.flatMap((setting) => ['--engine', setting])];
  await Promise.all(
    lab.plan.nodes.map(async ({ name }) => {
      await lab.kill(`${name}/ztunnel`);
      await lab.restart(`${name}/ztunnel`, (command) => [...command, ...settings]);
    }),
  );
  await Promise.all(lab.plan.nodes.map(({ name }) => lab.ready(name)));
}

const proxy = 'a proxy a node, HBONE in mutual TLS 1.3, one worker each, access log off';
const common = {
  meshed: true,
  carries: 'tcp',
  tlsPort: ports.hbone,
  prepare: async () => undefined,
  start,
  proxyOf: (lab, end) => cgroupIn(lab, `${nodeOf[end]}/ztunnel`),
} as const satisfies Partial<Variant>;

/** As it comes, but for pods of one node: they are connected by their proxy, too. */
export const weft: Variant = {
  ...common,
  name: 'weft',
  title: `Weft, ${proxy}, captured in the kernel`,
  annotations: { [sameNodeAnnotation]: 'tunnel' },
};

/** The same, captured by nftables. */
export const weftNft: Variant = {
  ...common,
  name: 'weft-nft',
  title: `Weft, ${proxy}, captured by nftables`,
  tierOf: weft.name,
  annotations: { [captureAnnotation]: 'nft' },
};

/** Pods of one node past their proxy: it starts none, since those of the others are there. */
export const weftDirect: Variant = {
  ...common,
  name: 'weft-direct',
  title: 'Weft, pods of one node connected past their proxy, as the kernel authorizes them',
  tierOf: weft.name,
  ways: ['neighbour'],
  proxyOf: () => undefined,
};

const unbatched = ['crypto=off'];

/** The same as `weft`, but the TLS library computes each handshake by itself. */
export const weftUnbatched: Variant = {
  ...weft,
  name: 'weft-unbatched',
  title: `Weft, ${proxy}, captured in the kernel, each handshake by itself`,
  tierOf: weft.name,
  settings: unbatched,
  start: (lab, options) => start(lab, { ...options, engine: [...options.engine, ...unbatched] }),
};
