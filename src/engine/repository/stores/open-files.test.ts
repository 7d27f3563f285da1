import assert from 'node:assert/strict'
import { fstatSync, openSync } from 'node:fs'
import { describe, it } from 'node:test'
import { type OpenFile, OpenFiles } from './open-files.ts'

const openSelf = async (): Promise<OpenFile> => ({ fd: openSync(import.meta.filename, 'r'), sizeBytes: 1 })

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd)
    return true
  } catch {
    return false // EBADF is the answer
  }
}

function gate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}

describe('OpenFiles', () => {
  it('opens a file once, closes the least recently used beyond the bound, and all in the end', async () => {
    const files = new OpenFiles(2)
    const fdOf = (key: string): Promise<number> => files.use(key, openSelf, async ({ fd }) => fd)
    const [a, b] = [await fdOf('a'), await fdOf('b')]
    assert.equal(await fdOf('a'), a)
    const c = await fdOf('c')
    assert.deepEqual([a, b, c].map(isOpen), [true, false, true])
    await files.close()
    assert.deepEqual([a, c].map(isOpen), [false, false])
  })

  it('a file that is forgotten, or beyond the bound, stays open while somebody reads it', async () => {
    const files = new OpenFiles(1)
    const reading = gate()
    const started = gate()
    let fd = -1
    const read = files.use('a', openSelf, async (file) => {
      fd = file.fd
      started.open()
      await reading.opened
      assert.ok(isOpen(fd))
    })
    await started.opened
    await files.use('b', openSelf, async () => {})
    await files.forget('a')
    assert.ok(isOpen(fd))
    reading.open()
    await read
    assert.equal(isOpen(fd), false)
    await files.close()
  })

  it('a file that was forgotten while it was being opened is not kept', async () => {
    const files = new OpenFiles(4)
    const opening = gate()
    const first = files.use(
      'a',
      async () => {
        await opening.opened
        return openSelf()
      },
      async ({ fd }) => fd,
    )
    await files.forget('a')
    opening.open()
    assert.equal(isOpen(await first), false)
  })

  it('after a failure the file is opened anew; opened twice at once, one is kept', async () => {
    const files = new OpenFiles(4)
    let opens = 0
    const open = (): Promise<OpenFile> => {
      opens += 1
      return openSelf()
    }
    await assert.rejects(
      files.use('a', open, () => Promise.reject(new Error('EIO'))),
      /EIO/,
    )
    const [one, two] = await Promise.all(Array.from({ length: 2 }, () => files.use('a', open, async ({ fd }) => fd)))
    assert.equal(opens, 3)
    assert.equal([one, two].filter((fd) => isOpen(fd ?? -1)).length, 1)
    await files.close()
    assert.deepEqual(
      [one, two].map((fd) => isOpen(fd ?? -1)),
      [false, false],
    )
  })
})
