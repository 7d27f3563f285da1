import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { effectiveUser, userInPasswd } from './process-user.ts'

describe('userInPasswd()', () => {
  it('finds the whole name only', () => {
    const passwd =
      'root:x:0:0::/:/bin/sh\nholdfast-qemu-2:x:1:1::/:\nholdfast-qemu:x:990:991::/:/usr/sbin/nologin\nbroken\n'
    assert.deepEqual(userInPasswd(passwd, 'holdfast-qemu'), { uid: 990, gid: 991 })
    assert.equal(userInPasswd(passwd, 'holdfast'), undefined)
    assert.equal(userInPasswd('holdfast-qemu:x::991::/:', 'holdfast-qemu'), undefined)
  })
})

describe('effectiveUser()', () => {
  it('reads the second column, which the kernel checks rights by', () => {
    const status = 'Name:\tUid:\t1\t2\nUid:\t10\t11\t12\t13\nGid:\t20\t21\t22\t23\n'
    assert.deepEqual(effectiveUser(status), { uid: 11, gid: 21 })
    assert.equal(effectiveUser('Name:\tx\n'), undefined)
  })
})
