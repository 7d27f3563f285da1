import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { checkName } from './extract.ts'
import { nameOf, namesOf } from './file-tree.ts'

describe('nameOf()', () => {
  it('keeps valid UTF-8 and shows the bytes of everything else, so that two names never become one', () => {
    assert.equal(nameOf(Buffer.from('grün')), 'grün')
    assert.equal(nameOf(Buffer.from([0x61, 0xff, 0x5c])), String.raw`a\xff\x5c`)
    assert.notEqual(nameOf(Buffer.from([0x61, 0xfe])), nameOf(Buffer.from([0x61, 0xff])))
  })
})

describe('namesOf()', () => {
  it('splits a path and refuses one that leads upwards', () => {
    assert.deepEqual(namesOf('//a/./b/'), ['a', 'b'])
    assert.deepEqual(namesOf('/'), [])
    for (const path of ['..', '/a/../b', 'a/..']) assert.throws(() => namesOf(path), { code: 'files_name_unsafe' })
  })
})

describe('checkName()', () => {
  it('refuses every name that is more than one plain step', () => {
    for (const name of ['', '.', '..', 'a/b', '/', 'a\0b', 'x'.repeat(256), 'ü'.repeat(128)]) {
      assert.throws(() => checkName(name), { code: 'files_name_unsafe' }, JSON.stringify(name))
    }
    for (const name of ['...', 'a b', '-rf', 'x'.repeat(255), 'ü'.repeat(127)]) checkName(name)
  })
})
