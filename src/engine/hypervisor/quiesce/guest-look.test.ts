import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readLook } from './guest-look.ts'

describe('readLook()', () => {
  it('reads both files and the hooks, whatever the files hold', () => {
    const settings = '{"a":\n"scripts 0 777 5"}\nhook /not/one\n'
    const shown = `scripts 0 600 ${Buffer.byteLength(settings)}\n${settings}\nfreeze 7 644 3\nä\n\nhook /etc/x y\n`
    assert.deepEqual(readLook(Buffer.from(shown)), {
      scriptSettings: { ownerId: 0, mode: 0o600, text: settings },
      freezeSettings: { ownerId: 7, mode: 0o644, text: 'ä\n' },
      hooks: ['/etc/x y'],
    })
  })

  it('finds nothing in nothing, in noise, and in what was cut off', () => {
    const nothing = { hooks: [] }
    for (const text of ['', '\n\n', 'scripts\n', 'scripts 0 600\n', 'hook', 'scripts -1 600 3\nabc\n'])
      assert.deepEqual(readLook(Buffer.from(text)), nothing, text)
    assert.equal(readLook(Buffer.from('scripts 0 600 100\n{"a"')).scriptSettings?.text, '{"a"')
  })
})
