/** The folder store on file systems that are full, read-only or pulled away, and between processes. Needs root for mounts. */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { isHoldfastError, KIB, MIB } from '#base'
import { FolderStore } from '#engine/repository'
import { checkCommand, runCommand } from '#runtime'
import { listAll, positionedBytes, rejectsWith } from '../../src/engine/repository/blob-store.contract.ts'

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-store-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A small file system of its own, unmounted afterwards; or the reason why there can be none. */
async function mounted(t: TestContext, sizeBytes: number): Promise<{ folder: string } | { reason: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-store-'))
  t.after(async () => {
    await runCommand('umount', [folder])
    await rm(folder, { recursive: true, force: true })
  })
  const options = ['-t', 'tmpfs', '-o', `size=${sizeBytes},mode=755`, 'tmpfs', folder]
  const result = await runCommand('mount', options)
  if (result.exitCode !== 0) return { reason: `no file system could be mounted: ${result.stderr.trim()}` }
  return { folder }
}

function skip(t: TestContext, reason: string): void {
  console.log(`SKIPPED ${t.name}: ${reason}`)
  t.skip(reason)
}

describe('FolderStore at its limits', () => {
  it('a full file system is store_full, leaves no trace, and what is stored stays whole', async (t) => {
    const mount = await mounted(t, MIB)
    if ('reason' in mount) return skip(t, mount.reason)
    const store = await FolderStore.open(mount.folder)
    await store.put('packs/a', [positionedBytes(1, 300 * KIB)])
    const freeBefore = (await statfs(mount.folder)).bfree
    const refused: unknown = await store
      .put('packs/b', [positionedBytes(2, 900 * KIB)])
      .catch((error: unknown) => error)
    assert.ok(isHoldfastError(refused, 'store_full'))
    assert.equal(refused.retry, 'later')
    assert.match(refused.hint ?? '', /repo prune .* work on a full store/)
    assert.deepEqual(await readdir(join(mount.folder, 'packs')), ['a'])
    assert.equal((await statfs(mount.folder)).bfree, freeBefore)
    assert.equal(Buffer.compare(await store.get('packs/a'), positionedBytes(1, 300 * KIB)), 0)
    await store.delete('packs/a')
    assert.equal(await store.put('packs/b', [positionedBytes(2, 900 * KIB)]), 'created')
  })

  it('a file system without free inodes is store_full too', async (t) => {
    const mount = await mounted(t, MIB)
    if ('reason' in mount) return skip(t, mount.reason)
    await checkCommand('mount', ['-o', 'remount,nr_inodes=4', mount.folder])
    const store = await FolderStore.open(mount.folder)
    await store.put('log/1', [positionedBytes(1, 10)])
    await rejectsWith(
      (async () => {
        for (let i = 2; i < 6; i += 1) await store.put(`log/${i}`, [positionedBytes(i, 10)])
      })(),
      'store_full',
    )
  })

  it('a read-only file system is store_read_only, and reading goes on', async (t) => {
    const mount = await mounted(t, MIB)
    if ('reason' in mount) return skip(t, mount.reason)
    const store = await FolderStore.open(mount.folder)
    await store.put('packs/a', [positionedBytes(1, 100)])
    await checkCommand('mount', ['-o', 'remount,ro', mount.folder])
    const refused: unknown = await store.put('packs/b', [positionedBytes(2, 100)]).catch((error: unknown) => error)
    assert.ok(isHoldfastError(refused, 'store_read_only'))
    assert.match(refused.hint ?? '', /mounted read-only/)
    await rejectsWith(store.put('other/b', []), 'store_read_only')
    await rejectsWith(store.delete('packs/a'), 'store_read_only')
    assert.equal(await store.put('packs/a', []), 'exists')
    assert.equal((await store.get('packs/a')).length, 100)
    assert.deepEqual(await listAll(store, ''), [{ key: 'packs/a', sizeBytes: 100 }])
  })

  it('an unmounted file system is store_unavailable: no object is missing, none is created underneath', async (t) => {
    const mount = await mounted(t, MIB)
    if ('reason' in mount) return skip(t, mount.reason)
    const store = await FolderStore.open(mount.folder)
    await store.put('packs/a', [positionedBytes(1, 100)])
    await checkCommand('umount', [mount.folder])
    await rejectsWith(store.get('packs/a'), 'store_unavailable')
    await rejectsWith(store.head('packs/a'), 'store_unavailable')
    await rejectsWith(listAll(store, ''), 'store_unavailable')
    await rejectsWith(store.put('packs/b', [positionedBytes(2, 100)]), 'store_unavailable')
    await rejectsWith(store.put('c', [positionedBytes(3, 100)]), 'store_unavailable')
    await rejectsWith(store.delete('packs/a'), 'store_unavailable')
    assert.deepEqual(await readdir(mount.folder), [])
  })

  it('a folder of another user is store_read_only to write and store_unavailable to read', async (t) => {
    if (process.getuid?.() !== 0) return skip(t, 'only root can become another user')
    const folder = await temporaryFolder(t)
    await checkCommand('chmod', ['755', folder])
    const store = await FolderStore.open(join(folder, 'store'), { create: true })
    await store.put('packs/a', [positionedBytes(1, 100)])
    const probe = join(import.meta.dirname, 'folder-probe.ts')
    const asNobody = async (): Promise<string> => {
      const setpriv = ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, probe]
      return (await checkCommand('setpriv', [...setpriv, store.location])).stdout.toString('utf8')
    }
    assert.deepEqual(JSON.parse(await asNobody()), { put: 'store_read_only', get: 'store_unavailable' })
    await checkCommand('chmod', ['-R', 'a+rX', store.location])
    assert.deepEqual(JSON.parse(await asNobody()), { put: 'store_read_only', get: 'ok' })
  })

  it('of four processes racing for every key exactly one creates', async (t) => {
    const folder = await temporaryFolder(t)
    await mkdir(join(folder, 'log'))
    const [processes, keys] = [4, 60]
    const racers = await Promise.all(Array.from({ length: processes }, (_, writer) => Racer.start(folder, writer)))
    t.after(() => racers.forEach((racer) => racer.end()))
    const outcomes: string[][] = []
    // All are asked for a key before any of them has answered, and none for the next one until all have.
    for (let i = 0; i < keys; i += 1) outcomes.push(await Promise.all(racers.map((racer) => racer.put(`log/${i}`))))
    const store = await FolderStore.open(folder)
    for (let i = 0; i < keys; i += 1) {
      const winners = (outcomes[i] ?? []).flatMap((outcome, writer) => (outcome === 'created' ? [writer] : []))
      assert.equal(winners.length, 1, `winners of ${i}: ${winners.join(' ')}`)
      const bytes = await store.get(`log/${i}`)
      assert.equal(Buffer.compare(bytes, positionedBytes(winners[0] ?? -1, 5000)), 0)
    }
    assert.equal((await listAll(store, '')).length, keys)
  })
})

class Racer {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(folder: string, writer: number): Promise<Racer> {
    const racer = new Racer(fork(join(import.meta.dirname, 'folder-racer.ts'), [folder, String(writer)]))
    await racer.#answer() // it is ready
    return racer
  }

  /** How its put ended. */
  put(key: string): Promise<string> {
    const answer = this.#answer()
    this.#child.send(key)
    return answer
  }

  end(): void {
    this.#child.disconnect()
  }

  #answer(): Promise<string> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`The racer ended with ${code}`))
      this.#child.once('exit', ended)
      this.#child.once('message', (outcome: unknown) => {
        this.#child.off('exit', ended)
        resolve(outcome as string)
      })
    })
  }
}
