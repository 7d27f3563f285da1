/** The systemd units: systemd itself takes them, and what they restrict does not keep server and worker from working. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '../..')
const UNITS = ['holdfast-serve.service', 'holdfast-host.service']
const pathOf = (unit: string): string => join(ROOT, 'install/systemd', unit)
const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0
const skip = hasAnalyze ? false : 'systemd-analyze is not installed'

for (const name of UNITS)
  test(`systemd-analyze verify takes ${name} without a word`, { skip }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hfu-'))
    try {
      const unit = (await readFile(pathOf(name), 'utf8')).replaceAll('/opt/holdfast', ROOT)
      await writeFile(join(folder, name), unit)
      const verify = spawnSync('systemd-analyze', ['verify', '--man=no', join(folder, name)])
      assert.deepEqual([verify.status, verify.stderr.toString()], [0, ''])
      await writeFile(join(folder, name), unit.replace('KillMode=process', 'KillMode=gently'))
      const planted = spawnSync('systemd-analyze', ['verify', '--man=no', join(folder, name)])
      assert.match(planted.stderr.toString(), /kill mode/, 'the gate can fail')
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

test('The units end server and worker alone and run without root', async () => {
  for (const name of UNITS) {
    const lines = (await readFile(pathOf(name), 'utf8')).split('\n')
    for (const line of ['KillMode=process', 'User=holdfast', 'NoNewPrivileges=yes', 'CapabilityBoundingSet='])
      assert.ok(lines.includes(line), `${name}: ${line}`)
  }
})
