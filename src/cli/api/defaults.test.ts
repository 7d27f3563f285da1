import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { isHoldfastError } from '#base'
import { defaultsPath, effectiveDefaults, readAssignments, writeDefaults } from './defaults.ts'

const folder = await mkdtemp(join(tmpdir(), 'holdfast-defaults-'))
after(() => rm(folder, { recursive: true, force: true }))
const environment = { XDG_CONFIG_HOME: folder }

test('Defaults are kept, and the environment goes before them', async () => {
  assert.deepEqual(await effectiveDefaults(environment), {})
  await writeDefaults(environment, { group: 'kept', location: 'eastus' })
  assert.deepEqual(await effectiveDefaults(environment), { group: 'kept', location: 'eastus' })
  const said = { ...environment, HOLDFAST_GROUP: 'said', HOLDFAST_LOCATION: '' }
  assert.deepEqual(await effectiveDefaults(said), { group: 'said', location: 'eastus' })
})

test('A file that is no JSON, and names that are no defaults, are refused by name', async () => {
  const broken = { XDG_CONFIG_HOME: join(folder, 'broken') }
  const path = defaultsPath(broken)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, '{')
  await assert.rejects(effectiveDefaults(broken), (error) => isHoldfastError(error, 'defaults_invalid'))
  assert.deepEqual(
    [...readAssignments(['group=a=b', 'location='])],
    [
      ['group', 'a=b'],
      ['location', ''],
    ],
  )
  for (const wrong of ['group', 'color=red', ''])
    assert.throws(
      () => readAssignments([wrong]),
      (error) => isHoldfastError(error, 'defaults_invalid'),
      wrong,
    )
})
