// SPDX-License-Identifier: Apache-2.0
// Join tokens for tests of those who carry them. Nobody checks the signature there.
import { SignJWT } from 'jose';

/** A token as the control plane mints it, with any claim changed. */
export async function joinToken(
  rootSha256: string,
  change: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const { sub = 'a', aud = 'weft:cluster.local', ...rest } = change;
  return await new SignJWT({ sub, aud, rootSha256: [rootSha256], ...rest } as Record<
    string,
    unknown
  >)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(new Uint8Array(32));
}
