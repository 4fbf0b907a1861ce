// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { packageIn } from '../../../scripts/kernels/package.ts';

const depends = `linux-image-cloud-amd64
  Depends: linux-image-6.1.0-57-cloud-amd64
  Suggests: linux-doc-6.12
`;

t.test('the package of a kernel is the one that a line names', async (t) => {
  t.equal(packageIn(depends, '6.1'), 'linux-image-6.1.0-57-cloud-amd64');
  t.equal(packageIn(depends, '6.12'), undefined);
  t.equal(packageIn(depends.replace('6.1.0-57', '6.12.117+deb13'), '6.1'), undefined);
  t.equal(packageIn('', '6.1'), undefined);
});
