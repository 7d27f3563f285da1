/**
 * A fresh server and `az`: a guest is built and offered, `az vm create --image Micro` makes a machine of it by the word of the alias
 * document; and a user's own template makes network, cards and machines of an image with a data disk, with a secret and a copy loop.
 */
import assert from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { MIB } from '#base'
import { hostOf, rememberAccelerator, runIn } from '../api/machine-api-world.ts'
import { FaceClient } from '../api/face-client.ts'
import type { Done } from '../api/disk-world.ts'
import { run } from '../cli/command-line.ts'
import { CACHE_FOLDER, microImage } from '../rig/micro-image.ts'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

const MACHINES = 'Microsoft.Compute/virtualMachines'
const NETWORKS = 'Microsoft.Network/networkInterfaces'
const IMAGES = 'Microsoft.Compute/images'
const DEPLOYMENTS = 'Microsoft.Resources/deployments'
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHoldfastHoldfastHoldfastHoldfastHoldfa me@here'
const SECRET = 'Never-shown-7391'
const DATA_BYTES = 8 * MIB

/** As somebody would write it: parameters with bounds, variables, ids by functions, what depends on what by names. */
const TEMPLATE = `{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "prefix": { "type": "string", "defaultValue": "web", "maxLength": 8 },
    "count": { "type": "int", "minValue": 1, "maxValue": 10 },
    "image": { "type": "string" },
    "adminPassword": { "type": "secureString" }
  },
  "variables": {
    "network": "[concat(parameters('prefix'), '-net')]",
    "subnet": "[resourceId('Microsoft.Network/virtualNetworks/subnets', variables('network'), 'front')]"
  },
  "resources": [
    {
      "type": "Microsoft.Network/virtualNetworks", "apiVersion": "2022-01-01",
      "name": "[variables('network')]", "location": "[resourceGroup().location]",
      "properties": {
        "addressSpace": { "addressPrefixes": ["10.20.0.0/16"] },
        "subnets": [{ "name": "front", "properties": { "addressPrefix": "10.20.1.0/24" } }]
      }
    },
    {
      "type": "Microsoft.Network/networkInterfaces", "apiVersion": "2022-01-01",
      "name": "[format('{0}{1}-nic', parameters('prefix'), copyIndex(1))]", "location": "[resourceGroup().location]",
      "copy": { "name": "cards", "count": "[parameters('count')]" },
      "dependsOn": ["[resourceId('Microsoft.Network/virtualNetworks', variables('network'))]"],
      "properties": {
        "ipConfigurations": [{ "name": "ip1", "properties": { "subnet": { "id": "[variables('subnet')]" } } }]
      }
    },
    {
      "type": "Microsoft.Compute/virtualMachines", "apiVersion": "2023-03-01",
      "name": "[format('{0}{1}', parameters('prefix'), copyIndex(1))]", "location": "[resourceGroup().location]",
      "copy": { "name": "machines", "count": "[parameters('count')]" },
      "dependsOn": ["[format('{0}{1}-nic', parameters('prefix'), copyIndex(1))]"],
      "properties": {
        "hardwareProfile": { "vmSize": "Holdfast_1x192" },
        "storageProfile": {
          "imageReference": { "id": "[parameters('image')]" },
          "osDisk": { "createOption": "FromImage", "deleteOption": "Delete" },
          "dataDisks": [{ "lun": 5, "createOption": "Empty", "diskSizeGB": 1, "deleteOption": "Delete" }]
        },
        "osProfile": {
          "computerName": "[format('{0}{1}', parameters('prefix'), copyIndex(1))]",
          "adminUsername": "ops",
          "adminPassword": "[parameters('adminPassword')]"
        },
        "networkProfile": {
          "networkInterfaces": [
            { "id": "[resourceId('Microsoft.Network/networkInterfaces', format('{0}{1}-nic', parameters('prefix'), copyIndex(1)))]" }
          ]
        }
      }
    }
  ],
  "outputs": {
    "address": {
      "type": "string",
      "value": "[reference(format('{0}2-nic', parameters('prefix'))).ipConfigurations[0].properties.privateIPAddress]"
    },
    "vmId": { "type": "string", "value": "[reference(format('{0}1', parameters('prefix'))).vmId]" }
  }
}
`

type View = Readonly<{
  id: string
  vmId: string
  powerState: string
  storageProfile: { imageReference: { offer?: string }; dataDisks: { lun: number }[] }
}>
type Deployment = Readonly<{
  properties: { provisioningState: string; outputs: Record<string, { value: string }>; parameters: unknown }
}>

test('az on a fresh server: a built guest, and a template of one’s own', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az, served, subscription } = world
  const flow = world.flows(t)
  await rememberAccelerator(join(served.home, 'run', 'm'))
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const at = (name: string): string[] => ['-g', 'rg1', '-n', name]
  const show = (name: string): Promise<View> => az.run<View>('vm', 'show', ...at(name), '-d')
  const host = hostOf(served.home)
  const guest = async (name: string, command: string): Promise<string> => {
    const { vmId } = await show(name)
    const found = (await host.discover()).machines.find(({ machine }) => machine.uuid === vmId)
    return runIn(host, found?.machine.name ?? name, command)
  }
  const imported = async (name: string, path: string, more: Record<string, unknown>): Promise<void> => {
    const client = new FaceClient(served.home)
    const id = `${subscription}/resourceGroups/rg1/providers/Microsoft.Compute/disks/${name}`
    const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
    const body = { location: 'eastus', properties: { ...more, creationData } }
    const answer = await client.ask('PUT', `${id}?api-version=2023-04-02`, body)
    const done = await client.followed<Done>(answer)
    assert.equal(done.status, 'Succeeded', JSON.stringify(done))
    await rm(path)
  }

  try {
    await flow(
      'guest build micro; vm create --image Micro: by the word, with its network, address and key',
      async () => {
        const env = { ...served.env, HOLDFAST_CACHE: CACHE_FOLDER }
        const args = ['guest', 'build', 'micro', '-l', 'eastus']
        const built = await run(served.folder, args, { env, passphrase: undefined })
        assert.equal(built.code, 0, built.stderr)
        const offered = await az.run<{ urn: string; urnAlias: string }[]>('vm', 'image', 'list')
        assert.deepEqual(
          offered.map(({ urn, urnAlias }) => [urn, urnAlias]),
          [['Holdfast:micro:gen1:latest', 'Micro']],
        )
        const key = await az.file('id.pub', `${KEY}\n`)
        const login = ['--admin-username', 'ops', '--ssh-key-values', key]
        await az.run('vm', 'create', ...at('vm1'), '--image', 'Micro', '--size', 'Holdfast_1x192', ...login)
        const shown = await show('vm1')
        assert.deepEqual([shown.powerState, shown.storageProfile.imageReference.offer], ['VM running', 'micro'])
        assert.equal((await guest('vm1', 'hostname; cat /home/ops/.ssh/authorized_keys')).trim(), `vm1\n${KEY}`)
        await az.run('vm', 'delete', ...at('vm1'), '--yes')
      },
      MACHINES,
      NETWORKS,
      IMAGES,
    )

    await flow(
      'deployment group create: vnet, cards and machines of an image with a data disk; a secret; a copy loop',
      async () => {
        const folder = join(served.home, 'import')
        await mkdir(folder, { recursive: true, mode: 0o700 })
        const [os, data] = [join(folder, 'os.raw'), join(folder, 'data.raw')]
        await copyFile(await microImage(), os)
        const known = randomFillSync(Buffer.alloc(DATA_BYTES))
        await writeFile(data, known)
        await imported('os', os, { osType: 'Linux' })
        await imported('data', data, {})
        const sources = ['--source', 'os', '--os-type', 'Linux', '--data-disk-sources', 'data']
        const image = await az.run<{ id: string }>('image', 'create', ...at('img1'), ...sources)
        const file = await az.file('machines.json', TEMPLATE)
        const given = ['-p', 'count=2', `image=${image.id}`, `adminPassword=${SECRET}`]
        const made = await az.run<Deployment>('deployment', 'group', 'create', ...at('d1'), '-f', file, ...given)
        const { provisioningState, outputs } = made.properties
        assert.equal(provisioningState, 'Succeeded')
        assert.equal(outputs['vmId']?.value, (await show('web1')).vmId)
        assert.match(outputs['address']?.value ?? '', /^10\.20\.1\./)
        for (const args of [
          ['show', ...at('d1')],
          ['list', '-g', 'rg1'],
          ['export', ...at('d1')],
        ])
          assert.ok(!JSON.stringify(await az.run('deployment', 'group', ...args)).includes(SECRET), args[0])
        const sha256 = createHash('sha256').update(known).digest('hex')
        for (const name of ['web1', 'web2']) {
          const shown = await show(name)
          assert.equal(shown.powerState, 'VM running')
          assert.deepEqual(
            shown.storageProfile.dataDisks.map(({ lun }) => lun),
            [0, 5],
            'the image’s own, and the one that the template adds',
          )
          const read = `head -c ${DATA_BYTES} /dev/$(basename $(ls -d /sys/bus/scsi/devices/*:0:0:1/block/*)) | sha256sum`
          assert.equal((await guest(name, `hostname; ${read}`)).split(/\s+/).slice(0, 2).join(' '), `${name} ${sha256}`)
          assert.match(await guest(name, 'grep ^ops: /etc/shadow'), /^ops:\$6\$/)
        }
        const address = outputs['address']?.value ?? ''
        const reach = `for i in $(seq 20); do ping -c 1 -W 2 ${address} > /dev/null && exit 0; sleep 1; done; exit 1`
        await guest('web1', reach)
        await az.run('deployment', 'group', 'create', ...at('d1'), '-f', file, ...given)
        assert.equal((await show('web1')).vmId, outputs['vmId']?.value, 'the same again changes nothing')
      },
      MACHINES,
      NETWORKS,
      IMAGES,
      DEPLOYMENTS,
    )

    await flow(
      'group delete takes all of it',
      async () => {
        await az.run('group', 'delete', '-n', 'rg1', '--yes')
        assert.deepEqual((await host.discover()).machines, [])
        assert.deepEqual(await az.run('resource', 'list'), [])
      },
      MACHINES,
    )
  } finally {
    for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
  }
})
