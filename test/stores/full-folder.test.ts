/** A folder store on a file system that is really full. Needs the right to mount; passed over without. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'

const folder = await mkdtemp(join(tmpdir(), 'holdfast-full-'))
after(() => rm(folder, { recursive: true }))
const mounted = join(folder, 'mounted')
await mkdir(mounted)

/** Runs a shell command where a file system of 48 MiB is mounted, which goes with the namespace. */
function inSmallFileSystem(command: string): ReturnType<typeof spawnSync> {
  const script = `mount -t tmpfs -o size=48m tmpfs "$1" && ${command}`
  const process_ = join(import.meta.dirname, 'full-folder-process.ts')
  const args = ['-m', 'sh', '-c', script, 'sh', mounted, process.execPath, process_, folder]
  return spawnSync('unshare', args, { encoding: 'utf8', timeout: 300_000 })
}

const mayMount = inSmallFileSystem('true').status === 0

test('prune and forget work on a full file system, two at once too, and delete nothing that is needed', (t) => {
  if (!mayMount) {
    t.skip('mounting is not allowed here')
    return
  }
  const { status, stderr, stdout } = inSmallFileSystem('exec "$2" "$3" "$1" "$4"')
  assert.equal(status, 0, `${String(stdout)}${String(stderr)}`)
})
