import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { userInPasswd } from './process-user.ts'

describe('userInPasswd()', () => {
  it('finds the whole name only', () => {
    const passwd =
      'root:x:0:0::/:/bin/sh\nholdfast-qemu-2:x:1:1::/:\nholdfast-qemu:x:990:991::/:/usr/sbin/nologin\nbroken\n'
    assert.deepEqual(userInPasswd(passwd, 'holdfast-qemu'), { uid: 990, gid: 991 })
    assert.equal(userInPasswd(passwd, 'holdfast'), undefined)
    assert.equal(userInPasswd('holdfast-qemu:x::991::/:', 'holdfast-qemu'), undefined)
  })
})
