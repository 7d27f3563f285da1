import assert from 'node:assert/strict'
import { test } from 'node:test'
import { collectDisk } from './disk-argument.ts'

const sourceOf = (text: string) => collectDisk(text)[0]?.source

test('collectDisk() reads files, devices and NBD URIs, with colons and equal signs in their names', () => {
  assert.deepEqual(collectDisk('3=qcow2:/a.img'), [
    { lun: 3, source: { kind: 'image', path: '/a.img', format: 'qcow2' } },
  ])
  assert.deepEqual(sourceOf('0=vhd:b'), { kind: 'image', path: 'b', format: 'vpc' })
  assert.deepEqual(sourceOf('0=/x=y:z'), { kind: 'image', path: '/x=y:z', format: undefined })
  assert.deepEqual(sourceOf('0=raw:qcow2:odd'), { kind: 'image', path: 'qcow2:odd', format: 'raw' })
  assert.deepEqual(sourceOf('0=nbd://h/e%20x'), { kind: 'nbd-tcp', host: 'h', port: 10809, exportName: 'e x' })
  assert.deepEqual(sourceOf('0=nbd://h:1'), { kind: 'nbd-tcp', host: 'h', port: 1, exportName: '' })
  const unix = sourceOf('0=nbd+unix:///e?socket=/run/a%2Fb')
  assert.deepEqual(unix, { kind: 'nbd', socketPath: '/run/a/b', exportName: 'e' })
})

test('collectDisk() refuses what is no disk, and a LUN that is named twice', () => {
  const first = collectDisk('0=a')
  for (const wrong of [
    'a',
    '=a',
    '0=',
    'x=a',
    '12345=a',
    '0=nbd://u:p@h/e',
    '0=nbd+unix:///e',
    '0=nbds://h/e',
    '0=ssh://h/e',
  ])
    assert.throws(() => collectDisk(wrong), { code: 'commander.invalidArgument' }, wrong)
  assert.throws(() => collectDisk('0=b', first), /two disks with LUN 0/)
  assert.equal(collectDisk('1=b', first).length, 2)
})
