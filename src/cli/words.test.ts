import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError, KIB, MIB } from '#base'
import { presentable } from './command.ts'
import { exitCodeOf } from './exit-code.ts'
import { errorJson, errorText } from './output.ts'
import { printable } from './printable.ts'
import { parseSize } from './size.ts'
import { textTable } from './text-table.ts'

test('errorText() says code, facts that the message does not, and the hint; errorJson() says all', () => {
  const facts = { path: '/a', missingBytes: 7, none: undefined, empty: '', list: ['x', 'y'], stack: 'at z' }
  const error = new HoldfastError('target_full', 'No room in /a.', { facts, hint: 'Free some.' })
  assert.equal(
    errorText(error),
    'holdfast: No room in /a. (target_full)\n  missingBytes: 7\n  list: x, y\n  Free some.\n',
  )
  assert.deepEqual(errorJson(error), {
    error: { code: 'target_full', message: 'No room in /a.', facts, hint: 'Free some.' },
  })
})

test('What is no error of ours is either what the system refused or a fault of ours, with the stack', () => {
  const refused = presentable(Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' }))
  assert.deepEqual([refused.code, exitCodeOf(refused)], ['system_error', 6])
  const fault = presentable(new TypeError('x is undefined'))
  assert.deepEqual([fault.code, exitCodeOf(fault)], ['internal_error', 70])
  assert.match(String(fault.facts['stack']), /words\.test/)
  assert.equal(presentable(Object.assign(new Error('x'), { code: 'ERR_ASSERTION' })).code, 'internal_error')
})

test('printable() shows what would steer a terminal, and leaves other languages alone', () => {
  assert.equal(printable('a\u001b[2Jb\n\u009b\u202e'), String.raw`a\x1b[2Jb\x0a\x9b\u202e`)
  assert.equal(printable('naïve 名前 🙂'), 'naïve 名前 🙂')
})

test('parseSize() reads binary sizes and refuses what is none', () => {
  assert.deepEqual(['65536', '64KiB', '64k', '1.5 M', '0'].map(parseSize), [65536, 64 * KIB, 64 * KIB, 1.5 * MIB, 0])
  for (const wrong of ['', '-1', '1X', '0.3', 'KiB', '99999P', '1e3']) assert.throws(() => parseSize(wrong), wrong)
})

test('textTable() pads to the widest cell and puts numbers to the right', () => {
  assert.equal(
    textTable(
      ['NAME', 'N'],
      [
        ['a', '5'],
        ['long', '10'],
      ],
    ),
    'NAME   N\na      5\nlong  10',
  )
})
