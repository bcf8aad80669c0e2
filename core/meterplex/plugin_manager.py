"""Finds plugins, keeps what each gives, and keeps its failures from everybody else.

A plugin is an entry point of the group ``meterplex``. Whatever it does wrong (it does not import,
a hook raises or returns another type, it declares what another plugin has) becomes a line in its
:class:`PluginStatus`; the other plugins do not notice. Hooks are called for one plugin at a time,
because a joint call ends at the first one that raises.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from importlib import metadata
from importlib.metadata import EntryPoint
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeVar

import pluggy

from meterplex import __version__
from meterplex.domain.registers import STANDARD_REGISTERS, RegisterType
from meterplex.sdk import hookspecs
from meterplex.sdk.accounts import AccountEvent
from meterplex.sdk.channels import ChannelType
from meterplex.sdk.drivers import MeterDriver
from meterplex.sdk.errors import DriverError, PluginError
from meterplex.sdk.links import Link
from meterplex.sdk.models import MeterModel
from meterplex.sdk.settings import complete_settings, refuse_unknown
from meterplex.sdk.tariff import TariffComponent
from meterplex.sdk.twins import DeviceTwin

ENTRY_POINT_GROUP: Final = "meterplex"
BUILTIN_NAME: Final = "meterplex"
"""Name under which the core's own hook modules are shown."""

Declared = TypeVar("Declared", MeterModel, ChannelType, TariffComponent)
Made = TypeVar("Made")


class PluginState(StrEnum):
    """What is left of a plugin."""

    LOADED = "loaded"
    DEGRADED = "degraded"
    """It works in part; its problems say what is missing."""
    FAILED = "failed"
    """It gives nothing."""
    DISABLED = "disabled"
    """It was taken out of service while running; no driver of it is made any more."""


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plugin as found, for people and for the health answer.

    Attributes:
        name: of its entry point.
        distribution: the installed package it came from; empty where that is not known.
        problems: one line each: what it did wrong at load, and why it was disabled.
        models: ids of the models it gives.
        channel_types: schemes of the channel types it gives.
        failures: how often its drivers, components and listeners failed by their own fault since
            the start.
        last_failure: where and why, of the latest of them.
        components: kinds of the tariff components it gives.
        hears_accounts: whether it is told of account events.
    """

    name: str
    distribution: str
    version: str
    state: PluginState
    problems: tuple[str, ...]
    models: tuple[str, ...]
    channel_types: tuple[str, ...]
    failures: int = 0
    last_failure: str = ""
    components: tuple[str, ...] = ()
    hears_accounts: bool = False


@dataclass(frozen=True, slots=True)
class EventFailure:
    """A plugin that could not take an account event; it is to be told again."""

    plugin: str
    reason: str


@dataclass(slots=True)
class _Border:
    """Keeps what a plugin raises, whatever it is, as a line among its problems."""

    where: str
    problems: list[str]

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        # SystemExit stays here as well; Ctrl-C is the user's, not the plugin's.
        if error is None or isinstance(error, KeyboardInterrupt):
            return False
        self.problems.append(f"{self.where}: {describe(error)}")
        return True


@dataclass(slots=True)
class _Plugin:
    name: str
    distribution: str = ""
    version: str = ""
    package: str = ""
    modules: list[object] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    channel_types: list[str] = field(default_factory=list)
    components: list[str] = field(default_factory=list)
    listeners: list[object] = field(default_factory=list)
    disabled_because: str | None = None
    failures: int = 0
    last_failure: str = ""

    def border(self, where: str) -> _Border:
        return _Border(where, self.problems)

    def count(self, where: str, error: BaseException) -> None:
        self.failures += 1
        self.last_failure = f"{where}: {describe(error)}"

    @property
    def state(self) -> PluginState:
        if self.disabled_because is not None:
            return PluginState.DISABLED
        if not self.problems:
            return PluginState.LOADED
        gives = self.models or self.channel_types or self.components or self.listeners
        return PluginState.DEGRADED if gives else PluginState.FAILED

    def status(self) -> PluginStatus:
        disabled = () if self.disabled_because is None else (f"disabled: {self.disabled_because}",)
        return PluginStatus(
            name=self.name,
            distribution=self.distribution,
            version=self.version,
            state=self.state,
            problems=(*self.problems, *disabled),
            models=tuple(self.models),
            channel_types=tuple(self.channel_types),
            failures=self.failures,
            last_failure=self.last_failure,
            components=tuple(self.components),
            hears_accounts=bool(self.listeners),
        )


class PluginManager:
    """The plugins of one program, made by :meth:`load`."""

    def __init__(self) -> None:
        self._hooks = pluggy.PluginManager("meterplex")
        self._hooks.add_hookspecs(hookspecs)
        self._plugins: list[_Plugin] = []
        self._models: dict[str, MeterModel] = {}
        self._channel_types: dict[str, ChannelType] = {}
        self._components: dict[str, TariffComponent] = {}
        self._owner_of_model: dict[str, _Plugin] = {}
        self._owner_of_scheme: dict[str, _Plugin] = {}
        self._registers: dict[str, RegisterType] = dict(STANDARD_REGISTERS)
        self._owner_of_register: dict[str, str] = dict.fromkeys(STANDARD_REGISTERS, BUILTIN_NAME)

    @classmethod
    def load(
        cls, builtin: Sequence[object] = (), entry_points: Iterable[EntryPoint] | None = None
    ) -> Self:
        """Load the core's own hook modules and then all plugins, in order of their names.

        Never raises for what a plugin does.

        Args:
            builtin: modules of the core that implement hooks; shown as the plugin ``meterplex``.
            entry_points: None takes those of the installed distributions.
        """
        manager = cls()
        if builtin:
            core = _Plugin(BUILTIN_NAME, "meterplex", __version__)
            manager._take_in(core, builtin)
        if entry_points is None:
            entry_points = metadata.entry_points(group=ENTRY_POINT_GROUP)
        for entry_point in sorted(entry_points, key=lambda found: (found.name, found.value)):
            manager._load_entry_point(entry_point)
        return manager

    # -- what there is -------------------------------------------------------------------------

    @property
    def models(self) -> Mapping[str, MeterModel]:
        """Every model, by id; also those of disabled plugins."""
        return MappingProxyType(self._models)

    @property
    def channel_types(self) -> Mapping[str, ChannelType]:
        """Every channel type, by URL scheme."""
        return MappingProxyType(self._channel_types)

    @property
    def tariff_components(self) -> Mapping[str, TariffComponent]:
        """Every component that plugins bring to tariffs, by kind."""
        return MappingProxyType(self._components)

    @property
    def registers(self) -> Mapping[str, RegisterType]:
        """Every register type that a model or the standard list has, by slug."""
        return MappingProxyType(self._registers)

    @property
    def plugins(self) -> tuple[PluginStatus, ...]:
        """Every plugin found, the core's own first, then by name."""
        return tuple(plugin.status() for plugin in self._plugins)

    @property
    def packages(self) -> Mapping[str, str]:
        """Top-level package of each plugin, to the plugin's name; without the core's own."""
        return {
            plugin.package: plugin.name
            for plugin in self._plugins
            if plugin.package not in {"", "meterplex"}
        }

    @property
    def healthy(self) -> bool:
        """Whether every plugin found is loaded whole and in service."""
        return all(plugin.state is PluginState.LOADED for plugin in self._plugins)

    def plugin_of_model(self, model_id: str) -> str:
        """Return the name of the plugin that gives a model.

        Raises:
            PluginError: no plugin does.
        """
        return self._owner(model_id).name

    # -- use -----------------------------------------------------------------------------------

    def check_address(self, model_id: str, address: str) -> str:
        """Return a meter's address in its model's normal form.

        Raises:
            SettingsError: the model refuses it.
            PluginError: no plugin has the model, or its check failed.
        """
        owner, model = self._owner(model_id), self._models[model_id]
        where = f"plugin {owner.name!r}: address check of {model_id}"
        normal = _made(where, lambda: model.check_address(address))
        if not isinstance(normal, str):
            raise PluginError(f"{where} returned {type(normal).__name__}, expected str")
        return normal

    def make_driver(
        self, model_id: str, link: Link, address: str, settings: Mapping[str, str]
    ) -> MeterDriver:
        """Make a driver for one device; settings that are not given take their defaults.

        Raises:
            SettingsError: the address or a setting is not usable.
            PluginError: no plugin has the model, its plugin is disabled, or its factory failed.
        """
        owner, model = self._owner(model_id), self._models[model_id]
        if owner.disabled_because is not None:
            raise PluginError(f"plugin {owner.name!r} is disabled: {owner.disabled_because}")
        complete = complete_settings(model.settings, settings, f"model {model_id}")
        where = f"plugin {owner.name!r}: driver factory of {model_id}"
        driver = _made(where, lambda: model.driver(link, address, complete))
        if not isinstance(driver, MeterDriver):
            raise PluginError(f"{where} returned {type(driver).__name__}, expected MeterDriver")
        return driver

    def make_twin(
        self, model_id: str, address: str, settings: Mapping[str, str], seed: int
    ) -> DeviceTwin:
        """Make a simulated device.

        Raises:
            SettingsError: the address or a setting of the twin is not usable.
            PluginError: no plugin has the model, it has no twin, or its factory failed.
        """
        owner, factory = self._owner(model_id), self._models[model_id].twin
        if factory is None:
            raise PluginError(f"plugin {owner.name!r}: model {model_id} has no twin")
        model = self._models[model_id]
        names = [setting.name for setting in (*model.settings, *model.twin_settings)]
        refuse_unknown(names, settings, f"twin of {model_id}")
        where = f"plugin {owner.name!r}: twin factory of {model_id}"
        return _made(where, lambda: factory(address, settings, seed))

    def disable(self, plugin_name: str, reason: str) -> None:
        """Take a plugin out of service until the program is started again.

        Raises:
            PluginError: there is no plugin of that name.
        """
        self._named(plugin_name).disabled_because = reason

    def report_failure(self, model_id: str, where: str, error: BaseException) -> None:
        """Count a failure that a driver of a model is to blame for.

        A disabled plugin fails by our own will, and a model that no plugin has is nobody's fault;
        neither is counted.
        """
        owner = self._owner_of_model.get(model_id)
        if owner is None or owner.disabled_because is not None:
            return
        owner.count(f"{model_id}, {where}", error)

    def tell_account_event(
        self, event: AccountEvent, only: Collection[str] | None = None
    ) -> tuple[EventFailure, ...]:
        """Tell every plugin in service that listens; call it from a thread, plugins may do I/O.

        Args:
            only: names of the plugins to tell, those that failed before; None tells all.

        Returns:
            The plugins that raised; they are to be told again.
        """
        return tuple(
            EventFailure(plugin.name, plugin.last_failure)
            for plugin in self._plugins
            if plugin.listeners and plugin.disabled_because is None
            if only is None or plugin.name in only
            if not self._told(plugin, event)
        )

    def _told(self, plugin: _Plugin, event: AccountEvent) -> bool:
        """Tell one plugin; whether none of its listeners raised."""
        raised: list[str] = []
        for listener in plugin.listeners:
            with _Border("hook meterplex_account_event", raised):
                self._caller(listener, "meterplex_account_event")(event=event)
        if raised:
            plugin.failures += len(raised)
            plugin.last_failure = raised[-1]
        return not raised

    # -- loading -------------------------------------------------------------------------------

    def _load_entry_point(self, entry_point: EntryPoint) -> None:
        dist = entry_point.dist
        plugin = _Plugin(
            entry_point.name,
            distribution="" if dist is None else dist.name,
            version="" if dist is None else dist.version,
        )
        modules: list[object] = []
        taken = next((known for known in self._plugins if known.name == plugin.name), None)
        if taken is None:
            with plugin.border(f"import of {entry_point.value}"):
                plugin.package = _module_of(entry_point).partition(".")[0]
                modules.append(entry_point.load())
        else:
            owner = f"{taken.distribution} {taken.version}".strip() or "another entry point"
            plugin.problems.append(f"a plugin of the name {plugin.name!r} came with {owner}")
        self._take_in(plugin, modules)

    def _take_in(self, plugin: _Plugin, modules: Iterable[object]) -> None:
        self._plugins.append(plugin)
        for module in modules:
            with plugin.border("registration"):
                self._hooks.register(module, name=f"{plugin.name}:{len(plugin.modules)}")
                plugin.modules.append(module)
        self._check_hooks(plugin)
        for model in self._declared(plugin, "meterplex_meter_models", MeterModel):
            with plugin.border(f"model {model.id!r}"):
                self._add_model(plugin, model)
        for channel_type in self._declared(plugin, "meterplex_channel_types", ChannelType):
            with plugin.border(f"channel type {channel_type.scheme!r}"):
                self._add_channel_type(plugin, channel_type)
        for component in self._declared(plugin, "meterplex_tariff_components", TariffComponent):
            with plugin.border(f"tariff component {component.kind!r}"):
                self._add_component(plugin, component)
        plugin.listeners += self._implementing(plugin, "meterplex_account_event")

    def _check_hooks(self, plugin: _Plugin) -> None:
        callers = [
            caller
            for module in plugin.modules
            for caller in self._hooks.get_hookcallers(module) or ()
        ]
        plugin.problems += [
            f"hook {caller.name} is unknown" for caller in callers if not caller.has_spec()
        ]
        if not callers and not plugin.problems:
            plugin.problems.append("it implements no hook; is each marked with meterplex.hookimpl?")

    def _declared(self, plugin: _Plugin, hook: str, kind: type[Declared]) -> list[Declared]:
        declared: list[Declared] = []
        for module in self._implementing(plugin, hook):
            with plugin.border(f"hook {hook}"):
                items = tuple(self._answer(module, hook))
                declared += [item for item in items if isinstance(item, kind)]
                plugin.problems += [
                    f"hook {hook}: item {place} is of type {type(item).__name__}, "
                    f"expected {kind.__name__}"
                    for place, item in enumerate(items)
                    if not isinstance(item, kind)
                ]
        return declared

    def _implementing(self, plugin: _Plugin, hook: str) -> list[object]:
        """Return the modules of a plugin that implement a hook."""
        return [
            module
            for module in plugin.modules
            if hook in {caller.name for caller in self._hooks.get_hookcallers(module) or ()}
        ]

    def _caller(self, module: object, hook: str) -> pluggy.HookCaller:
        """Return a hook's caller for one module alone."""
        others = [other for other in self._hooks.get_plugins() if other is not module]
        return self._hooks.subset_hook_caller(hook, others)

    def _answer(self, module: object, hook: str) -> Sequence[object]:
        answers: list[object] = self._caller(module, hook)()
        answer = answers[0] if answers else None  # an answer of None is left out by pluggy
        if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
            raise PluginError(f"it returned {type(answer).__name__}, expected a sequence")
        return answer

    def _add_model(self, plugin: _Plugin, model: MeterModel) -> None:
        if (owner := self._owner_of_model.get(model.id)) is not None:
            raise PluginError(
                f"refused: plugin {owner.name!r} declares it as well as plugin {plugin.name!r}"
            )
        _check_callable(model.check_address, "check_address")
        _check_callable(model.driver, "driver")
        if model.twin is not None:
            _check_callable(model.twin, "twin")
        self._check_registers(plugin, model)
        for register in model.registers:
            self._registers.setdefault(register.slug, register)
            self._owner_of_register.setdefault(register.slug, plugin.name)
        self._models[model.id] = model
        self._owner_of_model[model.id] = plugin
        plugin.models.append(model.id)

    def _check_registers(self, plugin: _Plugin, model: MeterModel) -> None:
        for register in model.registers:
            if not isinstance(register, RegisterType):
                raise PluginError(f"register {register!r} is of type {type(register).__name__}")
            if self._registers.get(register.slug, register) != register:
                owner = self._owner_of_register[register.slug]
                raise PluginError(
                    f"refused: register {register.slug!r} has another code, unit or resolution "
                    f"in plugin {plugin.name!r} than in plugin {owner!r}"
                )

    def _add_channel_type(self, plugin: _Plugin, channel_type: ChannelType) -> None:
        if (owner := self._owner_of_scheme.get(channel_type.scheme)) is not None:
            raise PluginError(
                f"refused: plugin {owner.name!r} declares it as well as plugin {plugin.name!r}"
            )
        _check_callable(channel_type.configure, "configure")
        _check_callable(channel_type.open, "open")
        self._channel_types[channel_type.scheme] = channel_type
        self._owner_of_scheme[channel_type.scheme] = plugin
        plugin.channel_types.append(channel_type.scheme)

    def _add_component(self, plugin: _Plugin, component: TariffComponent) -> None:
        if (known := self._components.get(component.kind)) is not None:
            raise PluginError(
                f"refused: plugin {known.plugin!r} declares it as well as plugin {plugin.name!r}"
            )
        _check_callable(component.charge, "charge")
        _check_callable(component.check, "check")
        self._components[component.kind] = replace(
            component,
            plugin=plugin.name,
            on_failure=partial(plugin.count, f"tariff component {component.kind}"),
        )
        plugin.components.append(component.kind)

    def _owner(self, model_id: str) -> _Plugin:
        try:
            return self._owner_of_model[model_id]
        except KeyError:
            raise PluginError(f"no plugin has the model {model_id!r}") from None

    def _named(self, name: str) -> _Plugin:
        for plugin in self._plugins:
            if plugin.name == name:
                return plugin
        raise PluginError(f"there is no plugin {name!r}")


def describe(error: BaseException) -> str:
    """Return an error on one line, with its type unless it is a refusal of our own."""
    message = " ".join(str(error).split())
    if isinstance(error, PluginError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _module_of(entry_point: EntryPoint) -> str:
    try:
        return entry_point.module
    except AttributeError as error:  # how importlib.metadata says that it cannot be read
        raise PluginError("this is no module name") from error


def _made(where: str, make: Callable[[], Made]) -> Made:
    """Call a plugin's factory: its typed refusals pass, all else is the plugin's fault."""
    try:
        return make()
    except (DriverError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{where}: {describe(error)}") from error


def _check_callable(value: object, name: str) -> None:
    if not callable(value):
        raise PluginError(f"{name} is of type {type(value).__name__}, expected a callable")
