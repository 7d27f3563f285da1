import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { homeFolder, openHome } from './home.ts'

test('homeFolder() takes HOLDFAST_HOME first, and refuses a relative one', () => {
  assert.equal(homeFolder({ HOLDFAST_HOME: '/srv/hf', XDG_STATE_HOME: '/x' }, true), '/srv/hf')
  assert.equal(homeFolder({ HOLDFAST_HOME: '' }, true), '/var/lib/holdfast')
  assert.equal(homeFolder({ XDG_STATE_HOME: '/x' }, false), '/x/holdfast')
  assert.match(homeFolder({ XDG_STATE_HOME: 'relative' }, false), /\/\.local\/state\/holdfast$/)
  assert.throws(() => homeFolder({ HOLDFAST_HOME: 'here' }, false), { code: 'home_unusable' })
})

test('openHome() makes folders that are the owner’s alone, and refuses a path too long for a socket', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-home-'))
  const home = openHome(join(folder, 'a', 'b'))
  for (const path of [home.folder, join(home.folder, 'run'), join(home.folder, 'log')]) {
    assert.equal((await stat(path)).mode & 0o777, 0o700)
  }
  const deep = openHome(join(folder, 'long'.repeat(25)))
  assert.throws(() => deep.socket('worker'), { code: 'home_path_too_long' })
  writeFileSync(join(folder, 'file'), '')
  assert.throws(() => openHome(join(folder, 'file', 'home')), { code: 'home_unusable' })
  await rm(folder, { recursive: true })
})
