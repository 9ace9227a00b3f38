from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.corpus.text import read_text
from charlm.corpus.text_files import decode
from charlm.errors import CorpusError

TEXTS = {
    "french": """\
Le petit café de la gare était déjà plein quand nous sommes arrivés, à sept heures du matin.
« Où est passée ta sœur ? » demanda la vieille dame en posant son journal près de la fenêtre.
Personne ne répondit, car le train de Besançon venait d'être annoncé avec une heure de retard.
L'été précédent, mon père avait acheté une maison au bord de la forêt, loin des bruits de la ville.
Elle n'avait ni eau ni électricité, mais les pièces étaient claires et le jardin très grand.
Chaque soir, après le dîner, il nous lisait quelques pages d'un roman où l'on voyageait beaucoup.
J'ai gardé de ces années un goût profond pour les histoires qui commencent à l'aube.
Les élèves français apprennent dès l'école que la leçon la plus brève peut être la meilleure.
Un garçon traversa la place en courant, des fleurs à la main, et disparut derrière l'église.
""",
    "german": """\
Über dem Fluss lag noch der Nebel, als die ersten Händler ihre Stände auf dem Marktplatz öffneten.
Der alte Müller grüßte jeden, der vorüberging, und fragte nach der Gesundheit der Kinder.
„Das Wetter wird schön“, sagte er, „aber die Äpfel sind in diesem Jahr viel zu früh reif geworden.“
Niemand wusste genau, weshalb die Straße nach Köln seit drei Tagen gesperrt war.
Im Gasthaus erzählte man sich, dass ein großer Baum während des Gewitters umgestürzt sei.
Meine Großmutter glaubte kein Wort davon und schüttelte nur müde den Kopf.
Später saßen wir zusammen in der Küche, hörten Musik und tranken heißen Tee mit Honig.
Die Übung macht den Meister, hieß es früher, und tatsächlich wurde unser Spiel jede Woche besser.
Am Ende des Monats fuhren fünf von uns nach Österreich, um die Berge endlich selbst zu sehen.
""",
    "spanish": """\
El niño salió corriendo de la panadería con una bolsa de pan caliente bajo el brazo.
¿Quién ha dejado abierta la puerta del jardín? —preguntó la señora García desde la cocina.
Nadie contestó, porque aquella mañana todos habían ido al mercado antes de que saliera el sol.
El año pasado llovió tanto que el río cubrió los caminos y las viñas de los pueblos cercanos.
Mi abuelo decía que las montañas guardan la memoria de quienes cruzaron por aquí hace siglos.
¡Qué difícil resulta explicar una canción cuando ya no está quien la cantaba!
En otoño volvimos a la estación, pero el tren de Málaga no llegó hasta después de la medianoche.
Allí comprendí que también las ciudades pequeñas tienen su propia música, lenta y última.
Por la tarde, después de la lección, los alumnos españoles leían en voz alta un capítulo más.
""",
    "portuguese": """\
A manhã começou com uma chuva fina que não parou até a hora do almoço.
O João atravessou a praça a correr, porque a sua irmã já o esperava à porta da estação.
— Você não trouxe as maçãs? — perguntou ela, olhando para o cesto vazio com preocupação.
Naquela região, as pessoas costumam contar histórias antigas à volta da fogueira, nas noites frias.
O avô dizia que o coração do rio fica debaixo da ponte, onde a água é mais funda e silenciosa.
Também havia três cães, um pássaro numa gaiola e muitos livros que ninguém lia há anos.
Às vezes, a solução mais simples é aquela que ninguém quer experimentar primeiro.
No verão seguinte fomos a São Paulo de comboio, e a viagem pareceu-nos longuíssima.
As crianças aprenderam a lição tão depressa que a professora ficou sem exercícios para lhes dar.
""",
    "polish": """\
Wczesnym rankiem nad jeziorem unosiła się gęsta mgła, a łódki rybaków jeszcze spały przy brzegu.
Źle się stało, że list od siostry przyszedł dopiero w środę, kiedy wszyscy już wyjechali.
Dziadek powiedział, że nigdy nie widział tak pięknej jesieni w tej części Śląska.
— Gdzie są klucze od piwnicy? — zapytała matka, szukając ich w każdej kieszeni płaszcza.
Późnym wieczorem dzieci siedziały przy ogniu i słuchały opowieści o dawnych królach i wróżkach.
Młody nauczyciel próbował wytłumaczyć uczniom, dlaczego księżyc świeci tylko w nocy.
W małym sklepiku na rogu można było kupić chleb, świeże mleko, gazetę oraz najlepsze pączki.
Żaden z podróżnych nie zauważył, że pociąg do Łodzi odjechał dziesięć minut wcześniej.
Następnego dnia spadł śnieg i cała ulica zrobiła się cicha, jakby ktoś przykrył ją kołdrą.
""",
    "czech": """\
Časně ráno ležela nad řekou hustá mlha a první tramvaje teprve vyjížděly z vozovny.
Starý knihkupec otevřel svůj krám, pověsil kabát na hřebík a začal rovnat zaprášené svazky.
„Kdepak máš ten dopis, který přišel včera z Plzně?“ zeptala se ho žena od dveří.
Nikdo nevěděl, proč se vlak opozdil, ale lidé na nástupišti trpělivě čekali a povídali si.
Můj dědeček říkával, že nejhezčí příběhy začínají úplně obyčejným všedním dnem.
Večer jsme seděli u kamen, pili čaj s medem a poslouchali, jak vítr kvílí v komíně.
Žádná cesta není tak dlouhá, aby se na ní nedalo něčemu novému přiučit.
Učitelka vysvětlovala žákům, že měsíc svítí jen proto, že na něj dopadá sluneční světlo.
Příští týden pojedeme na chalupu do Šumavy, pokud ovšem nebude celou dobu pršet.
""",
    "russian": """\
Рано утром над рекой стоял густой туман, и первые лодки ещё не отошли от берега.
Старый учитель медленно поднялся по лестнице, снял пальто и сел у окна с книгой.
— Где ты был вчера вечером? — спросила его сестра, не отрывая взгляда от письма.
Никто не знал, почему поезд опоздал на целый час, но люди на станции терпеливо ждали.
Дедушка говорил, что самые лучшие истории начинаются с совершенно обычного дня.
Вечером мы сидели у печки, пили чай с мёдом и слушали, как за стеной шумит ветер.
Ни одна дорога не бывает такой длинной, чтобы на ней нельзя было чему-нибудь научиться.
Объяснять детям, отчего луна светит только ночью, оказалось гораздо труднее, чем мы думали.
На следующий день выпал снег, и вся улица стала тихой, словно её накрыли одеялом.
""",
    "greek": """\
Νωρίς το πρωί η θάλασσα ήταν ήσυχη και οι ψαράδες ετοίμαζαν τα δίχτυα τους στο λιμάνι.
Ο γέρος δάσκαλος ανέβηκε αργά τη σκάλα, έβγαλε το παλτό του και κάθισε δίπλα στο παράθυρο.
«Πού ήσουν χθες το βράδυ;» τον ρώτησε η αδελφή του χωρίς να σηκώσει το βλέμμα από το γράμμα.
Κανείς δεν ήξερε γιατί το τρένο είχε αργήσει μία ολόκληρη ώρα, αλλά όλοι περίμεναν υπομονετικά.
Ο παππούς έλεγε πως οι καλύτερες ιστορίες αρχίζουν με μια εντελώς συνηθισμένη μέρα.
Το βράδυ πίναμε ζεστό τσάι με μέλι και ακούγαμε τον άνεμο που φυσούσε έξω από το σπίτι.
Στην αγορά πουλούσαν ψωμί, τυρί, ελιές και τα πιο ωραία πορτοκάλια όλου του νησιού.
Δεν υπάρχει δρόμος τόσο μακρύς που να μη μας μαθαίνει κάτι καινούργιο, είπε ο ταξιδιώτης.
Την επόμενη μέρα χιόνισε και η Αθήνα έγινε ξαφνικά μια ήσυχη, άσπρη πόλη.
""",
    "turkish": """\
Sabahın erken saatlerinde deniz sakindi ve balıkçılar ağlarını iskelede hazırlıyordu.
Yaşlı öğretmen merdivenleri yavaşça çıktı, paltosunu astı ve pencerenin yanına oturdu.
“Dün akşam neredeydin?” diye sordu kız kardeşi, gözlerini mektuptan hiç ayırmadan.
Trenin neden bir saat geç kaldığını kimse bilmiyordu, ama herkes sabırla bekliyordu.
Dedem en güzel hikâyelerin çok sıradan bir günde başladığını söylerdi.
Akşamları sobanın başında çay içer, dışarıda esen rüzgârın sesini dinlerdik.
Çarşıda taze ekmek, beyaz peynir, zeytin ve şehrin en tatlı portakalları satılıyordu.
İnsana yeni bir şey öğretmeyecek kadar uzun bir yol yoktur, dedi yolcu gülümseyerek.
Ertesi gün kar yağdı ve İstanbul birdenbire sessiz, bembeyaz bir şehre dönüştü.
""",
    "japanese": """\
朝早く、川の上にはまだ霧が立ちこめていて、最初の電車がようやく駅を出たところだった。
年老いた先生はゆっくりと階段を上がり、コートを脱いで、窓のそばの椅子に腰を下ろした。
「昨日の夜はどこにいたの」と妹は手紙から目を離さずにたずねた。
列車がなぜ一時間も遅れたのか、だれも知らなかったが、人々はホームで静かに待っていた。
祖父はいつも、いちばんおもしろい話はごく普通の一日から始まると言っていた。
夜になると、私たちはストーブを囲んで熱いお茶を飲み、外を吹く風の音に耳をすませた。
市場ではパンやチーズ、新鮮な魚、それに町でいちばん甘いみかんが売られている。
どんなに長い道でも、何か新しいことを教えてくれるものだ、と旅人は笑って答えた。
次の日は雪が降り、東京の街は急に静かになって、まるで白い毛布をかけられたようだった。
""",
    "korean": """\
이른 아침 강 위에는 아직 안개가 짙게 끼어 있었고 첫 배는 떠나지 않았다.
나이 많은 선생님은 천천히 계단을 올라와 외투를 벗고 창가에 앉았다.
“어젯밤에 어디 있었어?” 누나가 편지에서 눈을 떼지 않고 물었다.
기차가 왜 한 시간이나 늦었는지 아무도 몰랐지만 사람들은 조용히 기다렸다.
할아버지는 가장 재미있는 이야기는 아주 평범한 하루에서 시작된다고 말씀하셨다.
저녁이면 우리는 난로 곁에 모여 따뜻한 차를 마시며 바람 소리를 들었다.
시장에서는 빵과 치즈, 싱싱한 생선, 그리고 도시에서 가장 단 귤을 팔았다.
아무리 먼 길이라도 무언가 새로운 것을 가르쳐 준다고 나그네가 웃으며 대답했다.
다음 날 눈이 내리자 서울은 갑자기 하얀 이불을 덮은 것처럼 고요해졌다.
""",
    "chinese": """\
清晨，河面上还笼罩着一层薄雾，第一班渡船还没有离开码头。
老先生慢慢走上楼梯，脱下大衣，在窗边的椅子上坐了下来。
“你昨天晚上到哪里去了？”妹妹一边看信，一边头也不抬地问他。
没有人知道火车为什么晚点了一个小时，但是站台上的人都在耐心地等待。
爷爷常说，最有意思的故事往往从非常普通的一天开始。
到了晚上，我们围着炉子喝热茶，听窗外的风声和远处传来的狗叫。
市场里卖面包、新鲜的鱼、青菜，还有全城最甜的橘子。
再长的路，也总会教给人一些新的东西，旅客微笑着回答。
第二天下了雪，整条街忽然安静下来，好像盖上了一床白色的被子。
""",
    "traditional": """\
清晨，河面上還籠罩著一層薄霧，第一班渡船還沒有離開碼頭。
老先生慢慢走上樓梯，脫下大衣，在窗邊的椅子上坐了下來。
「你昨天晚上到哪裡去了？」妹妹一邊看信，一邊頭也不抬地問他。
沒有人知道火車為什麼晚點了一個小時，但是月臺上的人都在耐心地等待。
爺爺常說，最有意思的故事往往從非常普通的一天開始。
到了晚上，我們圍著爐子喝熱茶，聽窗外的風聲和遠處傳來的狗叫。
市場裡賣麵包、新鮮的魚、青菜，還有全城最甜的橘子。
再長的路，也總會教給人一些新的東西，旅客微笑著回答。
第二天下了雪，整條街忽然安靜下來，好像蓋上了一床白色的被子。
""",
}

ENCODINGS = {
    "french": ("cp1252", "iso8859_15", "mac_roman"),
    "german": ("cp1252", "iso8859_1", "mac_roman", "cp850"),
    "spanish": ("cp1252", "iso8859_1", "mac_roman"),
    "portuguese": ("cp1252", "iso8859_1", "mac_roman"),
    "polish": ("cp1250", "iso8859_2"),
    "czech": ("cp1250", "iso8859_2"),
    "russian": ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"),
    "greek": ("cp1253", "iso8859_7"),
    "turkish": ("cp1254", "iso8859_9"),
    "japanese": ("cp932", "euc_jp", "iso2022_jp"),
    "korean": ("cp949",),
    "chinese": ("gb18030",),
    "traditional": ("big5",),
}
"""Of each language. Characters that an encoding lacks are left out."""


def text_in(language: str, encoding: str, length: int) -> str:
    """The first characters of the language's text that the encoding has, repeated as needed."""
    known = TEXTS[language].encode(encoding, "ignore").decode(encoding)
    return (known * (length // len(known) + 1))[:length]


def refusal(raw: bytes, encoding: str | None = None) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        decode(raw, Path("a.txt"), encoding)
    assert "\n" not in caught.value.message + (caught.value.hint or "")
    return caught.value


def candidates(error: CorpusError) -> list[str]:
    return re.findall(r"--encoding (\S+)", error.hint or "")


@pytest.mark.parametrize("length", [200, 2000])
@pytest.mark.parametrize(
    ("language", "encoding"), [(each, name) for each in ENCODINGS for name in ENCODINGS[each]]
)
def test_first_candidate_gives_exactly_the_text(language, encoding, length):
    text = text_in(language, encoding, length)
    raw = text.encode(encoding)
    error = refusal(raw)
    found = candidates(error)
    assert raw.decode(found[0]) == text
    assert 1 <= len(found) <= 3
    # Each is shown with up to three of its words, which no other candidate reads in the same way.
    words = [re.findall(r"'([^']+)'", part) for part in error.hint.split("--encoding ")[1:]]
    assert all(words)
    assert len(set(map(tuple, words))) == len(words)
    assert all(word in text for word in words[0])


@pytest.mark.parametrize("language", ["french", "german", "spanish", "portuguese"])
def test_commonest_encoding_is_named_where_several_give_the_same_text(language):
    """German in cp1252 was called cp1250, which reads other characters of the text wrong."""
    assert candidates(refusal(text_in(language, "cp1252", 200).encode("cp1252")))[0] == "cp1252"


@pytest.mark.parametrize(
    "text",
    [
        *("café", "déjà vu", "Müller", "price: £20", "5 €", "it’s", "9° – 50 µg © 2019 ®"),
        "The quick brown fox – naïve – jumps over the lazy dog.\n" * 40,
    ],
)
def test_few_letters_are_taken_for_western_european(text):
    assert candidates(refusal(text.encode("cp1252")))[0] == "cp1252"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("x = 1  // 初始化\n", "gb18030"), ("x = 1  # 設定\n", "cp932"), ("Привет", "cp1251")],
)
def test_few_words_in_another_script(text, encoding):
    assert candidates(refusal(text.encode(encoding)))[0] == encoding


def test_words_that_differ_are_shown():
    error = refusal(text_in("french", "iso8859_15", 2000).encode("iso8859_15"))
    assert error.hint.startswith("try --encoding iso8859-15 ('sœur', 'café', 'était'); ")
    assert "--encoding cp1252 ('s½ur', 'café', 'était')" in error.hint


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("language", TEXTS)
def test_utf_16_and_32(language, encoding):
    text = TEXTS[language]
    marked = refusal(("\ufeff" + text).encode(encoding))
    assert f"begins with a {encoding[:6].upper()} byte order mark" in marked.message
    assert candidates(marked) == [encoding[:6]]
    bare = refusal(text.encode(encoding))
    assert f"it looks like {encoding[:6].upper()}, " in bare.message
    assert candidates(bare) == [encoding]


def test_a_few_nul_bytes_are_counted_and_the_hint_removes_them(tmp_path):
    file = tmp_path / "my text.txt"
    file.write_bytes(b"one\ntwo\0 and three\0\n" + "zwölf ".encode() * 20)
    with pytest.raises(CorpusError) as caught:
        read_text(file)
    assert "has 2 NUL bytes, the first at byte offset 7, line 2" in caught.value.message
    command = caught.value.hint.partition("to remove them: ")[2]
    assert command == f"tr -d '\\000' < '{file}' > 'clean-my text.txt'"
    if sys.platform != "win32":
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
        clean = read_text(tmp_path / "clean-my text.txt").text
        assert clean == "one\ntwo and three\n" + "zwölf " * 20
    assert decode(b"a\0b", "a.txt", "utf-8") == "a\0b"  # a given encoding is taken at its word


def test_bytes_that_are_no_text():
    noise = bytes(range(256)) * 20
    assert "20 NUL bytes" in refusal(noise).message
    assert "it is not text" in refusal(noise).message
    assert "is not UTF-8" in refusal(noise.replace(b"\0", b"")).message


def test_damaged_utf_8(tmp_path):
    text = TEXTS["french"]
    for raw in (b"t\xe9t\n" + text.encode(), text.encode() + b"t\xe9t\n"):
        error = refusal(raw)
        assert "the text around it is UTF-8, so the file is damaged" in error.hint
        command = error.hint.partition("to remove the bytes: ")[2]
        assert command == "iconv -c -f utf-8 -t utf-8 < a.txt > clean-a.txt"


@pytest.mark.parametrize("blank", [0, 70_000])
@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("chinese", "gb18030"),
        ("traditional", "big5"),
        ("japanese", "cp932"),
        ("japanese", "euc_jp"),
        ("korean", "cp949"),
    ],
)
def test_damaged_text_in_another_encoding(language, encoding, blank):
    raw = text_in(language, encoding, 2000).encode(encoding) + b"\n" * blank + b"\x82\n"
    error = refusal(raw)
    assert error.hint.startswith(f"it looks like {encoding} ('")
    offset, line = len(raw) - 2, raw.count(b"\n")
    assert f"but is damaged at byte offset {offset:,}, line {line:,}; to remove" in error.hint
    assert f": iconv -c -f {encoding} -t utf-8 < a.txt > clean-a.txt" in error.hint


def test_given_encoding_that_does_not_fit():
    error = refusal(TEXTS["chinese"].encode(), "ascii")
    assert "is not ascii: byte 0xe6 at byte offset 0, line 1" in error.message
    assert error.hint == "try another --encoding"
