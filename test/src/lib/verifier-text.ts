// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { lastWordsOf, refusalOf } from '../../../src/lib/verifier-text.ts';

const text = `load weft_dns: Permission denied (libbpf: prog 'weft_recvmsg4': BPF program load failed: -EACCES
libbpf: prog 'weft_recvmsg4': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; int weft_recvmsg4(struct bpf_sock_addr* ctx) { @ dns.bpf.c:62
0: (61) r0 = *(u32 *)(r1 +32760)
invalid bpf_context access off=32760 size=4
processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'weft_recvmsg4': failed to load: -EACCES
libbpf: failed to load object 'weft_dns'
)`;

t.test('a refusal is told by the program and the last word of the verifier', async (t) => {
  t.equal(refusalOf(text), 'weft_recvmsg4: invalid bpf_context access off=32760 size=4');
  t.strictSame(lastWordsOf(text), text.split('\n').slice(2, 6));
});

t.test('one that no verifier spoke of is told by its first line', async (t) => {
  t.equal(
    refusalOf('load weft_dns: Invalid argument (libbpf: x\nlibbpf: y)'),
    'load weft_dns: Invalid argument (libbpf: x',
  );
  t.equal(refusalOf('not wanted'), 'not wanted');
  t.strictSame(lastWordsOf('not wanted'), []);
});
