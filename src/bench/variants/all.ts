// SPDX-License-Identifier: Apache-2.0
// Every variant, in the order of tables. A new one is a file here and a line below.
import { bare } from './bare.ts';
import { envoyL4 } from './envoy-l4.ts';
import { envoyL7 } from './envoy-l7.ts';
import { haproxy } from './haproxy.ts';
import type { Variant } from './variant.ts';
import { weft, weftDirect, weftNft, weftUnbatched } from './weft.ts';
import { ztunnel } from './ztunnel.ts';

/** All that can be measured. */
export const allVariants: readonly Variant[] = [
  bare,
  weft,
  weftNft,
  weftDirect,
  weftUnbatched,
  envoyL4,
  envoyL7,
  haproxy,
  ztunnel,
];

const rivals: readonly string[] = allVariants
  .filter(({ meshed, name }) => !meshed && name !== bare.name)
  .map(({ name }) => name);

/**
 * Whom ratios of a variant are taken to: the bare link, everything that is not ours, and the same
 * mesh by its other tiers, if they carry everything.
 */
export function referencesOf(variant: string): string[] {
  const family = ({ tierOf, name }: Variant): string => tierOf ?? name;
  const own = allVariants.find(({ name }) => name === variant);
  const tiers = allVariants.filter(
    (each) => own !== undefined && family(each) === family(own) && each.ways === undefined,
  );
  const all = [bare.name, ...rivals, ...tiers.map(({ name }) => name)];
  return [...new Set(all)].filter((name) => name !== variant);
}
