/** The systemd unit: systemd itself takes it, and what it restricts does not keep the server from working. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '../..')
const UNIT = join(ROOT, 'install/systemd/holdfast-serve.service')
const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0
const skip = hasAnalyze ? false : 'systemd-analyze is not installed'

test('systemd-analyze verify takes the unit without a word', { skip }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfu-'))
  try {
    const unit = (await readFile(UNIT, 'utf8')).replaceAll('/opt/holdfast', ROOT)
    await writeFile(join(folder, 'holdfast-serve.service'), unit)
    const verify = spawnSync('systemd-analyze', ['verify', '--man=no', join(folder, 'holdfast-serve.service')])
    assert.deepEqual([verify.status, verify.stderr.toString()], [0, ''])
    await writeFile(join(folder, 'holdfast-serve.service'), unit.replace('KillMode=process', 'KillMode=gently'))
    const planted = spawnSync('systemd-analyze', ['verify', '--man=no', join(folder, 'holdfast-serve.service')])
    assert.match(planted.stderr.toString(), /kill mode/, 'the gate can fail')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('The unit ends the server alone and runs without root', async () => {
  const unit = await readFile(UNIT, 'utf8')
  for (const line of ['KillMode=process', 'User=holdfast', 'NoNewPrivileges=yes', 'CapabilityBoundingSet='])
    assert.ok(unit.split('\n').includes(line), line)
})
