import assert from 'node:assert/strict'
import { chmod, chown, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { runCommand } from '#runtime'
import { closedAbove, maySearch, openPassage } from './passage.ts'
import { setUserWords } from './supervisor.ts'

const user = { uid: 64_990, gid: 64_991 }

describe('maySearch()', () => {
  it('asks owner, group or others: the first that fits', () => {
    for (const [uid, gid, mode, expected] of [
      [0, 0, 0o40700, false],
      [0, 0, 0o40711, true],
      [0, 64_991, 0o40710, true],
      [0, 64_991, 0o40701, false],
      [64_990, 0, 0o40011, false],
      [64_990, 0, 0o40100, true],
    ] as const)
      assert.equal(maySearch({ uid, gid, mode }, user), expected, `${uid} ${gid} ${mode.toString(8)}`)
    assert.equal(maySearch({ uid: 0, gid: 7, mode: 0o710 }, { ...user, groups: [7] }), true)
  })
})

describe('openPassage()', { skip: process.getuid?.() !== 0 && 'only root gives folders to others' }, () => {
  const inWorld = async (act: (folder: string, file: string) => Promise<void>): Promise<void> => {
    const folder = await mkdtemp(join(tmpdir(), 'hf-way-'))
    try {
      await mkdir(join(folder, 'home', 'pool'), { recursive: true, mode: 0o700 })
      const file = join(folder, 'home', 'pool', 'disk')
      await writeFile(file, 'bytes')
      await chown(file, user.uid, user.gid)
      await act(folder, file)
    } finally {
      await rm(folder, { recursive: true })
    }
  }
  const canRead = async (file: string): Promise<boolean> => {
    const [program, ...args] = [...setUserWords(user), 'cat', file]
    return (await runCommand(program, args)).stdout.toString() === 'bytes'
  }

  it('opens our own folders for the user to pass, and for nobody else; twice is once', () =>
    inWorld(async (folder, file) => {
      await chmod(folder, 0o711)
      const own = join(folder, 'home')
      await symlink(own, join(folder, 'link'))
      for (const way of [join(folder, 'link', 'pool', 'disk'), file]) await openPassage({ user, own }, [way])
      assert.equal(await canRead(file), true)
      for (const path of [own, join(own, 'pool')]) {
        const { mode, uid, gid } = await stat(path)
        assert.deepEqual([mode & 0o777, uid, gid], [0o710, 0, user.gid])
      }
    }))

  it('leaves a folder that is not ours, and names it with what opens it', () =>
    inWorld(async (folder, file) => {
      const own = join(folder, 'home')
      await assert.rejects(openPassage({ user, own }, [file]), (error: unknown) => {
        const { code, message, hint } = error as { code: string; message: string; hint: string }
        assert.equal(code, 'machine_path_closed')
        assert.match(message, new RegExp(`${folder}\\.$`))
        assert.match(hint, new RegExp(`chmod o\\+x ${folder}`))
        return true
      })
      assert.equal((await stat(folder)).mode & 0o777, 0o700)
      assert.equal(await closedAbove(own, user), folder)
      await chmod(folder, 0o701) // as it says
      assert.equal(await closedAbove(own, user), undefined)
      await openPassage({ user, own }, [file])
      assert.equal(await canRead(file), true)
    }))

  it('leaves a folder of ours that is another group’s, and one when nothing is ours', () =>
    inWorld(async (folder, file) => {
      await chmod(folder, 0o711)
      const own = join(folder, 'home')
      await assert.rejects(openPassage({ user, own: undefined }, [file]), { code: 'machine_path_closed' })
      await chown(join(own, 'pool'), 0, 7)
      await assert.rejects(openPassage({ user, own }, [file]), { code: 'machine_path_closed' })
      assert.equal((await stat(join(own, 'pool'))).gid, 7)
    }))
})
