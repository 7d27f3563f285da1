import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemRandom } from '#runtime'
import { SealedOrders } from './sealed-orders.ts'

test('sealed orders are read back whole, by nobody without their own key, and not when they were altered', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfo-'))
  try {
    const orders = new SealedOrders(folder, systemRandom)
    assert.deepEqual(await orders.list(), [])
    assert.equal(await orders.get('none'), undefined)
    await orders.put('a', 'the order of a ä')
    await orders.put('b', 'the order of b')
    assert.equal(await new SealedOrders(folder, systemRandom).get('a'), 'the order of a ä')
    assert.deepEqual((await orders.list()).toSorted(), ['a', 'b'])
    assert.equal(await orders.get('../keys/orders/a'), undefined)
    const [sealed, key] = [join(folder, 'orders', 'a'), join(folder, 'keys', 'orders', 'a')]
    assert.equal((await stat(key)).mode & 0o777, 0o600)
    const bytes = await readFile(sealed)
    assert.ok(!bytes.includes('order'))
    for (let at = 0; at < bytes.length; at += 1) {
      const altered = Buffer.from(bytes)
      altered[at] = (altered[at] ?? 0) ^ 1
      await writeFile(sealed, altered)
      assert.equal(await orders.get('a'), undefined, `byte ${at}`)
    }
    await writeFile(sealed, await readFile(join(folder, 'orders', 'b')))
    await writeFile(key, await readFile(join(folder, 'keys', 'orders', 'b')))
    assert.equal(await orders.get('a'), undefined, 'another’s order with its key is not this one')
    for (const name of ['a', 'b', 'a']) await orders.remove(name)
    assert.deepEqual(await readdir(join(folder, 'orders')), [])
    assert.deepEqual(await readdir(join(folder, 'keys', 'orders')), [])
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
