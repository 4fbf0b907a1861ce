// SPDX-License-Identifier: Apache-2.0
// The folder of keys, which two proxies have in common while one takes the place of the other.
import type { KeyStore } from '../key-folder.ts';

/** What a proxy is to its node: see `NodeProxy`. */
export type Tenure = 'waits' | 'takes' | 'has' | 'gives' | 'gave';

/**
 * `keys` for one of them: only a proxy that has the node wipes what others may use, and one that
 * was replaced saves nothing.
 */
export function sharedKeys(keys: KeyStore, tenure: () => Tenure): KeyStore {
  return {
    load: (spiffeId) => keys.load(spiffeId),
    save: (credential) => {
      if (tenure() !== 'gave') {
        keys.save(credential);
      }
    },
    remove: (spiffeId) => {
      if (tenure() === 'has') {
        keys.remove(spiffeId);
      }
    },
    keepOnly: (spiffeIds) => {
      if (tenure() === 'has') {
        keys.keepOnly(spiffeIds);
      }
    },
  };
}
