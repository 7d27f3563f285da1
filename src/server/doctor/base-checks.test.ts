import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { createImage, createQcow2Overlay } from '#engine/block'
import { baseFindings } from './base-checks.ts'

test('baseFindings() names a disk whose base is gone, and says nothing of a pool without overlays', async () => {
  const pool = await mkdtemp(join(tmpdir(), 'hf-bases-'))
  const seen = { pools: [{ region: 'attic', name: 'p', path: pool, reserveBytes: 0 }] }
  try {
    assert.deepEqual(await baseFindings(seen), [])
    for (const part of ['disks', 'bases']) await mkdir(join(pool, part))
    await createImage(join(pool, 'disks', 'alone.qcow2'), 'qcow2', MIB)
    assert.deepEqual(await baseFindings(seen), [])
    const base = join(pool, 'bases', 'b.qcow2')
    await createImage(base, 'qcow2', MIB)
    await createQcow2Overlay(join(pool, 'disks', 'over.qcow2'), MIB, { path: base, format: 'qcow2' })
    const [well] = await baseFindings(seen)
    assert.deepEqual([well?.severity, well?.check], ['well', 'bases attic/p'])
    await rm(base)
    const [lacking] = await baseFindings(seen)
    assert.equal(lacking?.severity, 'failed')
    assert.match(lacking?.says ?? '', /1 disks cannot be read.*b\.qcow2 of over\.qcow2/)
  } finally {
    await rm(pool, { recursive: true })
  }
})
